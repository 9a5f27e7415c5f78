"""Gradients that are clipped."""

from __future__ import annotations

import torch
from tests.agent.probe.loops.loop import Loop, norm_of


class Clipped(Loop):
    """clip_grad_norm_ before every step."""

    def prepare(self) -> None:
        super().prepare()
        self.after: list[float] = []

    def round(self) -> None:
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.note(loss)
        torch.nn.utils.clip_grad_norm_(self.params, 0.5)
        self.after.append(norm_of(self.params))
        self.optimizer.step()
