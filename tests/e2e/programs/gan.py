"""A generator learns to put points on a ring, and a discriminator to tell them from real ones.

    python gan.py --rounds 3000 --out runs/gan

Writes a line for each round into OUT/log.jsonl. A file OUT/stop, with a number of rounds in it or empty, ends it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from pathlib import Path

import torch
from torch import nn

LATENT = 8


def network(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 48), nn.LeakyReLU(0.2), nn.Linear(48, 48), nn.LeakyReLU(0.2), nn.Linear(48, outputs)
    )


def ring(count: int) -> torch.Tensor:
    angle = 2 * math.pi * torch.rand(count)
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(count, 2)


def norm(model: nn.Module) -> float:
    return float(sum(float(p.grad.double().pow(2).sum()) for p in model.parameters() if p.grad is not None) ** 0.5)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--pause", type=float, default=0.006, help="seconds a round that the data takes to come")
    parser.add_argument("--out", type=Path, default=Path("runs/gan"))
    args = parser.parse_args()
    torch.manual_seed(3)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)

    generator, discriminator = network(LATENT, 2), nn.Sequential(network(2, 1), nn.Sigmoid())
    criterion = nn.BCELoss()
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=2 * args.lr, betas=(0.5, 0.999))
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=args.lr, betas=(0.5, 0.999))
    real_label, fake_label = torch.ones(args.batch_size, 1), torch.zeros(args.batch_size, 1)

    with (args.out / "log.jsonl").open("w", buffering=1) as log:
        round_ = 0
        for round_ in range(1, args.rounds + 1):
            time.sleep(args.pause)
            discriminator.zero_grad()
            real = criterion(discriminator(ring(args.batch_size)), real_label)
            real.backward()
            fake = generator(torch.randn(args.batch_size, LATENT))
            made = criterion(discriminator(fake.detach()), fake_label)
            made.backward()
            loss_d, norm_d = real.item() + made.item(), norm(discriminator)
            optimizer_d.step()

            generator.zero_grad()
            fooled = criterion(discriminator(fake), real_label)
            fooled.backward()
            norm_g = norm(generator)
            optimizer_g.step()
            said = {"loss_d": loss_d, "loss_g": fooled.item(), "norm_d": norm_d, "norm_g": norm_g}
            log.write(json.dumps(said) + "\n")
            stop = args.out / "stop"
            if stop.exists() and round_ >= int(stop.read_text() or 0):
                break
        both = (*generator.parameters(), *discriminator.parameters())
        weights = b"".join(p.detach().numpy().tobytes() for p in both)
        log.write(json.dumps({"epochs": round_, "weights": hashlib.sha256(weights).hexdigest()}) + "\n")


if __name__ == "__main__":
    main()
