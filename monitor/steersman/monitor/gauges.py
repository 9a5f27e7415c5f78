"""The newest values of a job, for screens and metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from steersman.rules.samples import Column, Samples

_DECAY = 0.5 ** (1 / 8)


@dataclass
class Gauges:
    """The newest values of the lead rank's series, for screens and metrics."""

    smooth_loss: float = math.nan
    grad_norm: float = math.nan
    lr: dict[str, float] = field(default_factory=dict)
    own_lr: dict[str, float] = field(default_factory=dict)
    val_loss: dict[str, float] = field(default_factory=dict)

    def take(self, samples: Samples) -> None:
        """Consecutive rows; the last present value of each series counts."""
        overlaid = False
        for name, column in samples.columns.items():
            group, _, part = name.partition("/")
            if group == "own_lr":
                overlaid = True
                # Sent only while an overlay is in force: its absence on the newest row says that there is none.
                if column.present[-1]:
                    self.own_lr[part] = float(column.values[-1])
                else:
                    self.own_lr.pop(part, None)
            elif group in ("grad_norm", "lr", "val_loss"):
                last = _last(column)
                if last is None:
                    continue
                if name == "grad_norm":
                    self.grad_norm = last
                elif group != "grad_norm":
                    getattr(self, group)[part] = last
        if not overlaid:
            self.own_lr.clear()

    def smooth(self, losses: Sequence[float]) -> list[float]:
        """Take losses into the smooth one; what it was after each that is finite."""
        smoothed: list[float] = []
        for loss in losses:
            if math.isfinite(loss):
                before = self.smooth_loss
                self.smooth_loss = loss if math.isnan(before) else before * _DECAY + loss * (1 - _DECAY)
                smoothed.append(self.smooth_loss)
        return smoothed

    def own(self) -> tuple[float, ...]:
        """The job's own LR by group."""
        return tuple(self.own_lr.get(group, lr) for group, lr in self.lr.items())


def _last(column: Column) -> float | None:
    if column.present[-1]:
        return float(column.values[-1])
    present = column.present.nonzero()[0]
    return float(column.values[present[-1]]) if present.size else None
