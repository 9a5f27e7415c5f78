"""The demo's training job: a small character-level transformer, plain PyTorch. It knows nothing of Steersman.

Usage: train.py [--lr 0.003] [--steps 900] [--seed 1] [--warmup 20] [--out result.json]

The text is the language reference that ships with Python itself (pydoc_data.topics), so nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import math
import pydoc_data.topics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

CONTEXT = 64
BATCH = 16
WIDTH = 64
LAYERS = 2
HEADS = 4


class Block(nn.Module):
    """Causal self-attention and a feed-forward part, each with a residual and a norm before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_forward = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, time, width) to the same."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        down: Tensor = self.down(functional.gelu(self.up(self.norm_forward(x))))
        return x + down


class CharTransformer(nn.Module):
    """Predicts the next character."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.token = nn.Embedding(symbols, WIDTH)
        self.position = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block(WIDTH, HEADS) for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, symbols)
        nn.init.normal_(self.token.weight, std=0.1)
        nn.init.normal_(self.position.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Characters of shape (batch, time) to logits of shape (batch, time, symbols)."""
        h = self.token(x) + self.position.weight[: x.shape[1]]
        logits: Tensor = self.head(self.norm(self.blocks(h)))
        return logits


def load_text() -> tuple[Tensor, Tensor, int]:
    """Training and validation characters as integers, and how many symbols there are."""
    text = "\n".join(pydoc_data.topics.topics[key] for key in sorted(pydoc_data.topics.topics))
    symbols = sorted(set(text))
    index = {c: i for i, c in enumerate(symbols)}
    data = torch.tensor([index[c] for c in text])
    cut = int(0.95 * len(data))
    return data[:cut], data[cut:], len(symbols)


def pick(data: Tensor, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Random windows and the characters that follow them."""
    start = torch.randint(0, len(data) - CONTEXT - 1, (count,), generator=generator)
    window = data[start[:, None] + torch.arange(CONTEXT + 1)]
    return window[:, :-1], window[:, 1:]


def main() -> int:
    """Train, and write what came of it."""
    parser = argparse.ArgumentParser(description="a small character-level transformer")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    train, valid, symbols = load_text()
    model = CharTransformer(symbols)
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.lr, weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / arguments.warmup))
    valid_batch = pick(valid, torch.Generator().manual_seed(0), 64)

    def loss_on(x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(model(x).reshape(-1, symbols), y.reshape(-1))

    start = time.perf_counter()
    recent: list[Tensor] = []
    for step in range(arguments.steps):
        loss = loss_on(*pick(train, generator, BATCH))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        recent = [*recent[-49:], loss.detach()]
        if step % 50 == 49:
            with torch.no_grad():
                valid_loss = loss_on(*valid_batch)
            print(f"step {step + 1:5d}  loss {loss.item():.3f}  validation {valid_loss.item():.3f}", flush=True)
    final = torch.stack(recent).mean().item()
    result = {
        "final_loss": final if math.isfinite(final) else None,
        "steps": arguments.steps,
        "lr": arguments.lr,
        "seconds": time.perf_counter() - start,
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(result))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
