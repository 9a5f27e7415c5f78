"""A classifier trained with Accelerate, micro-batches accumulated, over as many processes as it is started with.

    accelerate launch --cpu accelerated.py --out runs/accelerated
    torchrun --standalone --nproc-per-node 2 accelerated.py --out runs/accelerated

Each process writes a line for each step and each test into OUT/log.RANK.jsonl. A file OUT/stop, with a number of epochs
in it or empty, ends the training at the end of an epoch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


def points(count: int, seed: int) -> TensorDataset:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 8, generator=draw)
    return TensorDataset(x, (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 0.5).long())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--pause", type=float, default=0.006, help="seconds a step that the data takes to come")
    parser.add_argument("--out", type=Path, default=Path("runs/accelerated"))
    args = parser.parse_args()
    set_seed(21)
    torch.set_num_threads(1)
    accelerator: Any = Accelerator(cpu=True, gradient_accumulation_steps=2)
    args.out.mkdir(parents=True, exist_ok=True)
    made = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 3))
    optimizer: Any = torch.optim.AdamW(made.parameters(), lr=args.lr)
    schedule: Any = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 2000)
    loader: Any = DataLoader(points(512, 1), batch_size=16, shuffle=True)
    held_out: Any = DataLoader(points(128, 2), batch_size=32)
    model: Any
    model, optimizer, loader, held_out, schedule = accelerator.prepare(made, optimizer, loader, held_out, schedule)
    ends = torch.zeros(1)

    with (args.out / f"log.{accelerator.process_index}.jsonl").open("w", buffering=1) as log:
        epoch = 0
        for epoch in range(1, args.epochs + 1):
            model.train()
            losses = []
            for x, y in loader:
                time.sleep(args.pause)
                with accelerator.accumulate(model):
                    loss = functional.cross_entropy(model(x), y)
                    accelerator.backward(loss)
                    losses.append(loss.item())
                    lr = optimizer.param_groups[0]["lr"]
                    if accelerator.sync_gradients:
                        norm = accelerator.clip_grad_norm_(model.parameters(), 0.8)
                        said = {"loss": sum(losses) / len(losses), "lr": lr, "grad_norm": float(norm)}
                        log.write(json.dumps(said) + "\n")
                        losses = []
                    optimizer.step()
                    schedule.step()
                    optimizer.zero_grad()
            model.eval()
            with torch.no_grad():
                tested = [functional.cross_entropy(model(x), y) for x, y in held_out]
            log.write(json.dumps({"test_loss": float(torch.stack(tested).mean())}) + "\n")
            stop = args.out / "stop"
            ends.fill_(stop.exists() and epoch >= int(stop.read_text() or 0))
            if torch.distributed.is_initialized():
                torch.distributed.broadcast(ends, 0)
            if ends.item():
                break
        weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
        log.write(json.dumps({"epochs": epoch, "weights": hashlib.sha256(weights).hexdigest()}) + "\n")
    accelerator.wait_for_everyone()
    # Gloo's threads need the interpreter to put a tensor away; who destroys the group waits without giving it.
    time.sleep(0.5)
    accelerator.end_training()


if __name__ == "__main__":
    main()
