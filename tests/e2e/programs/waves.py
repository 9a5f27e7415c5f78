"""A recurrent network learns to continue sine waves, with L-BFGS and a closure.

    python waves.py --steps 1000 --out runs/waves

Writes a line for each step and each prediction into OUT/log.jsonl. A file OUT/stop, with a number of steps in it or
empty, ends the training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path

import torch
from torch import nn, optim


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(1, 12, batch_first=True)
        self.out = nn.Linear(12, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.cell(x.unsqueeze(2))
        guess: torch.Tensor = self.out(hidden).squeeze(2)
        return guess


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds a step that the data takes to come")
    parser.add_argument("--out", type=Path, default=Path("runs/waves"))
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)

    starts = torch.randint(-80, 80, (12, 1))
    waves = torch.sin((torch.arange(40).unsqueeze(0) + starts) / 5.0)
    inputs, targets, held_inputs, held_targets = waves[3:, :-1], waves[3:, 1:], waves[:3, :-1], waves[:3, 1:]
    model, criterion = Sequence(), nn.MSELoss()
    optimizer = optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)

    with (args.out / "log.jsonl").open("w", buffering=1) as log:
        step = 0
        for step in range(1, args.steps + 1):
            time.sleep(args.pause)
            losses: list[float] = []
            norms: list[float] = []

            def closure(losses: list[float] = losses, norms: list[float] = norms) -> torch.Tensor:
                optimizer.zero_grad()
                loss: torch.Tensor = criterion(model(inputs), targets)
                loss.backward()
                losses.append(loss.item())
                norms.append(
                    sum(float(p.grad.double().pow(2).sum()) for p in model.parameters() if p.grad is not None) ** 0.5
                )
                return loss

            optimizer.step(closure)
            log.write(json.dumps({"loss": losses[0], "grad_norm": norms[0], "lr": 0.5, "calls": len(losses)}) + "\n")
            if step % 5 == 0:
                with torch.no_grad():
                    held_out = criterion(model(held_inputs), held_targets)
                log.write(json.dumps({"test_loss": held_out.item()}) + "\n")
            stop = args.out / "stop"
            if stop.exists() and step >= int(stop.read_text() or 0):
                break
        weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
        log.write(json.dumps({"epochs": step, "weights": hashlib.sha256(weights).hexdigest()}) + "\n")


if __name__ == "__main__":
    main()
