"""A small convolutional network learns to tell ten noisy patterns apart.

    python digits.py --epochs 300 --out runs/digits

Writes a line for each step and each epoch into OUT/log.jsonl. A file OUT/stop, with a number of epochs in it or empty,
ends the training at the end of an epoch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.dropout = nn.Dropout(0.25)
        self.hidden = nn.Linear(6 * 25, 32)
        self.out = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        x = self.dropout(torch.flatten(x, 1))
        return F.log_softmax(self.out(F.relu(self.hidden(x))), dim=1)


def patterns(count: int, seed: int) -> TensorDataset:
    shapes = torch.randn(10, 1, 12, 12, generator=torch.Generator().manual_seed(99))
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 10, (count,), generator=draw)
    return TensorDataset(shapes[labels] + 0.9 * torch.randn(count, 1, 12, 12, generator=draw), labels)


def train(args: argparse.Namespace, model: nn.Module, loader: Any, optimizer: optim.Optimizer, log: Any) -> None:
    model.train()
    for data, target in loader:
        time.sleep(args.pause)
        optimizer.zero_grad()
        loss = F.nll_loss(model(data), target)
        loss.backward()
        norm = sum(float(p.grad.double().pow(2).sum()) for p in model.parameters() if p.grad is not None) ** 0.5
        lr = optimizer.param_groups[0]["lr"]
        optimizer.step()
        log.write(json.dumps({"loss": loss.item(), "lr": lr, "grad_norm": norm}) + "\n")


def test(model: nn.Module, loader: Any, log: Any) -> None:
    model.eval()
    total, correct = 0.0, 0
    with torch.no_grad():
        for data, target in loader:
            output = model(data)
            total += F.nll_loss(output, target, reduction="sum").item()
            correct += int((output.argmax(1) == target).sum())
    found = {"test_loss": total / len(loader.dataset), "accuracy": correct / len(loader.dataset)}
    log.write(json.dumps(found) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--gamma", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.004, help="seconds a step that the data takes to come")
    parser.add_argument("--out", type=Path, default=Path("runs/digits"))
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)

    train_loader: Any = DataLoader(patterns(640, 1), batch_size=args.batch_size, shuffle=True)
    test_loader: Any = DataLoader(patterns(200, 2), batch_size=64)
    model = Net()
    optimizer = optim.Adadelta(model.parameters(), lr=args.lr)
    scheduler = StepLR(optimizer, step_size=5, gamma=args.gamma)
    with (args.out / "log.jsonl").open("w", buffering=1) as log:
        epoch = 0
        for epoch in range(1, args.epochs + 1):
            train(args, model, train_loader, optimizer, log)
            test(model, test_loader, log)
            scheduler.step()
            stop = args.out / "stop"
            if stop.exists() and epoch >= int(stop.read_text() or 0):
                break
        weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
        log.write(json.dumps({"epochs": epoch, "weights": hashlib.sha256(weights).hexdigest()}) + "\n")


if __name__ == "__main__":
    main()
