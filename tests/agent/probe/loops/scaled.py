"""GradScaler, whose steps may be left out."""

from __future__ import annotations

import math

import torch
from tests.agent.probe.loops.loop import Loop


class Scaled(Loop):
    """GradScaler on a CPU, as under autocast."""

    fused = False
    skips = False
    clips = False
    calls = 1

    def prepare(self) -> None:
        self.scaler = torch.amp.GradScaler(device="cpu", init_scale=1024.0, growth_interval=10**6)
        self.optimizer = torch.optim.AdamW(self.params, lr=0.01, fused=self.fused)
        self.rounds = 0
        self.skipped: list[float] = []

    def round(self) -> None:
        self.optimizer.zero_grad()
        total = 0.0
        for _ in range(self.calls):
            loss = self.loss()
            total += loss.item() / self.calls
            self.scaler.scale(loss / self.calls if self.calls > 1 else loss).backward()
        self.rounds += 1
        scale = self.scaler.get_scale()
        skip = self.skips and self.rounds % 4 == 3
        if skip:
            self.params[0].grad[0, 0] = math.inf  # type: ignore[index]
            self.skipped.append(scale)
        if self.clips:
            self.scaler.unscale_(self.optimizer)
            scale = 1.0
        if not skip:
            self.note(total, scale=scale)
        if self.clips:
            torch.nn.utils.clip_grad_norm_(self.params, 0.1)
        self.scaler.step(self.optimizer)
        self.scaler.update()


class ScaledAccumulated(Scaled):
    calls = 4


class ScaledClipped(Scaled):
    clips = True


class ScaledSkipping(Scaled):
    skips = True


class ScaledFused(Scaled):
    fused = True


class ScaledFusedSkipping(Scaled):
    fused = True
    skips = True
