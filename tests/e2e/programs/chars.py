"""A tiny GPT learns the characters of a made-up language: gradient accumulation, autocast, clipping, a cosine by hand.

    python chars.py --out runs/chars

Writes a line for each iteration and each evaluation into OUT/log.jsonl. A file OUT/stop, with a number of iterations in
it or empty, ends the training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn as nn
from torch.nn import functional as F

BLOCK, WIDTH, HEADS, LAYERS = 24, 32, 2, 2
BATCH, ACCUMULATE, CLIP = 8, 4, 1.0
RATE, LEAST_RATE, WARMUP, DECAY_ITERATIONS = 3e-3, 3e-4, 20, 400
EVAL_EVERY, EVAL_BATCHES = 10, 3


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.mix = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = (
            part.view(batch, length, HEADS, width // HEADS).transpose(1, 2)
            for part in self.qkv(self.before(x)).split(width, dim=2)
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.mix(seen.transpose(1, 2).reshape(batch, length, width))
        mixed: torch.Tensor = x + self.mlp(self.after(x))
        return mixed


class GPT(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, WIDTH), nn.Embedding(BLOCK, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary, bias=False)
        self.token.weight = self.head.weight

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        hidden = self.blocks(self.token(x) + self.place(torch.arange(x.shape[1])))
        logits = self.head(self.norm(hidden))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))


def language(letters: int) -> str:
    draw = random.Random(7)
    words = [
        "".join(draw.choice("bdgklmnrst") + draw.choice("aeiou") for _ in range(draw.randint(1, 3))) for _ in "x" * 40
    ]
    text = ""
    while len(text) < letters:
        text += " ".join(draw.choice(words) for _ in range(draw.randint(3, 8))) + ". "
    return text


def rate(iteration: int) -> float:
    if iteration < WARMUP:
        return RATE * (iteration + 1) / (WARMUP + 1)
    part = min(1.0, (iteration - WARMUP) / (DECAY_ITERATIONS - WARMUP))
    return LEAST_RATE + 0.5 * (1.0 + math.cos(math.pi * part)) * (RATE - LEAST_RATE)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, default=DECAY_ITERATIONS)
    parser.add_argument("--pause", type=float, default=0.03, help="seconds a iteration that the data takes to come")
    parser.add_argument("--out", type=Path, default=Path("runs/chars"))
    args = parser.parse_args()
    torch.manual_seed(1337)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)

    text = language(20_000)
    code = {letter: number for number, letter in enumerate(sorted(set(text)))}
    data = torch.tensor([code[letter] for letter in text])
    splits = {"train": data[:18_000], "val": data[18_000:]}

    def batch(split: str) -> tuple[torch.Tensor, torch.Tensor]:
        part = splits[split]
        starts = torch.randint(len(part) - BLOCK, (BATCH,)).tolist()
        return torch.stack([part[i : i + BLOCK] for i in starts]), torch.stack(
            [part[i + 1 : i + 1 + BLOCK] for i in starts]
        )

    model = GPT(len(code))
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    low_precision = torch.amp.autocast("cpu", dtype=torch.bfloat16)

    @torch.no_grad()
    def estimate_loss() -> dict[str, float]:
        model.eval()
        found = {}
        for split in ("train", "val"):
            losses = torch.zeros(EVAL_BATCHES)
            for k in range(EVAL_BATCHES):
                with low_precision:
                    losses[k] = model(*batch(split)).item()
            found[split] = float(losses.mean())
        model.train()
        return found

    with (args.out / "log.jsonl").open("w", buffering=1) as log:
        x, y = batch("train")
        iteration = 0
        for iteration in range(args.iterations):
            time.sleep(args.pause)
            lr = rate(iteration)
            for group in optimizer.param_groups:
                group["lr"] = lr
            if iteration % EVAL_EVERY == 0:
                log.write(json.dumps({"evaluated": estimate_loss()}) + "\n")
            total = 0.0
            for _ in range(ACCUMULATE):
                with low_precision:
                    loss = model(x, y) / ACCUMULATE
                x, y = batch("train")
                scaler.scale(loss).backward()
                total += loss.item()
            scaler.unscale_(optimizer)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            log.write(json.dumps({"loss": total, "lr": lr, "grad_norm": float(norm)}) + "\n")
            stop = args.out / "stop"
            if stop.exists() and iteration + 1 >= int(stop.read_text() or 0):
                break
        weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
        log.write(json.dumps({"epochs": iteration + 1, "weights": hashlib.sha256(weights).hexdigest()}) + "\n")


if __name__ == "__main__":
    main()
