"""What the owner of a job allows, as far as the daemon has to know: the agent enforces it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.monitor.adjustment import Overlay


@dataclass(frozen=True)
class Limits:
    """Bounds on adjustments.

    Attributes:
        min_factor: lowest total factor on the job's own LR.
        max_factor: highest total factor.
        min_lr: lowest LR any group may get; 0 means no bound.
        max_lr: highest LR any group may get; 0 means no bound.
        max_adjustments: adjustments that the daemon may make alone in one attempt.
        cooldown_steps: steps between two adjustments made by the daemon alone.
    """

    min_factor: float = 1 / 16
    max_factor: float = 16.0
    min_lr: float = 0.0
    max_lr: float = 0.0
    max_adjustments: int = 3
    cooldown_steps: int = 200

    @classmethod
    def asked(cls, fields: Mapping[str, Any]) -> Limits:
        """The limits an owner asked for; 0 or absent means the default.

        >>> Limits.asked({"max_factor": 2.0}).min_factor
        0.0625
        """
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__ if fields.get(name)})

    def objection(self, overlay: Overlay, own_lr: Sequence[float]) -> str:
        """Why the owner would not allow this overlay, in words; empty where nothing speaks against it.

        `own_lr` is the job's own LR by group, as far as it is known.
        """
        factor = overlay.factor(own_lr[0] if own_lr else math.nan)
        slack = 1 + 1e-9  # 1/16 computed in four steps of 1/2 must still be 1/16
        if factor * slack < self.min_factor:
            return f"a total factor of {factor:.4g} is below the owner's least, {self.min_factor:.4g}"
        if factor > self.max_factor * slack:
            return f"a total factor of {factor:.4g} is above the owner's most, {self.max_factor:.4g}"
        if overlay.absent:
            return ""
        for lr in own_lr:
            if self.min_lr and lr > 0 and lr * factor * slack < self.min_lr:
                return f"a learning rate of {lr * factor:.4g} is below the owner's least, {self.min_lr:.4g}"
            if self.max_lr and lr * factor > self.max_lr * slack:
                return f"a learning rate of {lr * factor:.4g} is above the owner's most, {self.max_lr:.4g}"
        return ""
