"""A regression over several processes, each with its own share of the data: replicated (DDP), or sharded (FSDP2).

    torchrun --standalone --nproc-per-node 2 ranks.py --sharded --epochs 400 --out runs/ranks

Each rank writes a line for each step and each test into OUT/log.RANK.jsonl. A file OUT/stop, with a number of epochs in
it or empty, ends the training at the end of an epoch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 32), nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(torch.tanh(self.first(x)))
        return y


def points(count: int, seed: int) -> TensorDataset:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=draw)
    return TensorDataset(x, torch.sin(x).sum(1, keepdim=True) + 0.1 * torch.randn(count, 1, generator=draw))


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sharded", action="store_true")
    parser.add_argument("--adamw", action="store_true")
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--pause", type=float, default=0.006, help="seconds a step that the data takes to come")
    parser.add_argument("--out", type=Path, default=Path("runs/ranks"))
    args = parser.parse_args()
    torch.manual_seed(11)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    args.out.mkdir(parents=True, exist_ok=True)

    net = Net()
    model: nn.Module
    if args.sharded:
        for part in (net.first, net.second, net):
            fully_shard(part)
        model = net
    else:
        model = DistributedDataParallel(net)
    data = points(256, 1)
    sampler: Any = DistributedSampler(data, shuffle=True, seed=2)
    loader: Any = DataLoader(data, batch_size=16, sampler=sampler)
    held_out: Any = DataLoader(points(64, 3), batch_size=32)
    optimizer: torch.optim.Optimizer
    if args.adamw:
        optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr / 10)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=20, gamma=0.8)
    criterion = nn.MSELoss()
    ends = torch.zeros(1)

    with (args.out / f"log.{rank}.jsonl").open("w", buffering=1) as log:
        epoch = 0
        for epoch in range(1, args.epochs + 1):
            sampler.set_epoch(epoch)
            model.train()
            for x, y in loader:
                time.sleep(args.pause)
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                squares = [whole(p.grad).double().pow(2).sum() for p in model.parameters() if p.grad is not None]
                norm = float(torch.stack(squares).sum().sqrt())
                lr = optimizer.param_groups[0]["lr"]
                optimizer.step()
                log.write(json.dumps({"loss": loss.item(), "lr": lr, "grad_norm": norm}) + "\n")
            scheduler.step()
            model.eval()
            with torch.no_grad():
                losses = [float(criterion(model(x), y)) for x, y in held_out]
            log.write(json.dumps({"test_loss": sum(losses) / len(losses)}) + "\n")
            stop = args.out / "stop"
            ends.fill_(stop.exists() and epoch >= int(stop.read_text() or 0))
            dist.broadcast(ends, 0)
            if ends.item():
                break
        weights = b"".join(whole(p.detach()).numpy().tobytes() for p in model.parameters())
        log.write(json.dumps({"epochs": epoch, "weights": hashlib.sha256(weights).hexdigest()}) + "\n")
    dist.barrier()
    # Gloo's threads need the interpreter to put a tensor away; who destroys the group waits without giving it.
    time.sleep(0.5)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
