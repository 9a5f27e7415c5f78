"""How long a step is, measured by the weights."""

from __future__ import annotations

import math
from typing import ClassVar

from steersman.rules.features.saved import Saved
from steersman.rules.features.smooth import Smooth

ASSUMED_STEPS = 1000
"""The horizon taken where a job does not say how long it means to run, or has outrun what it said."""


class StepSize(Saved):
    """Relative step |du| / |theta|, its geometric mean over some 8 samples, and over a horizon R = r sqrt(T).

    A run whose steps were independent would move R times the length of its weights in T steps. Tuned runs had R of 0.28
    to 0.50 for T from 250 to 4,000, SGD with momentum and AdamW (pilot), and within a factor two of the best LR 0.17
    to 2.3.

    >>> s = StepSize()
    >>> s.update(0.01, 1.0)
    >>> round(s.over(1000), 3)
    0.316
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("count", "ln_top", "first_weight", "weight")

    def __init__(self) -> None:
        self.smooth = Smooth(8.0)
        self.count = 0
        self.ln_top = -math.inf
        self.first_weight = 0.0
        self.weight = 0.0

    def update(self, update_norm: float, weight_norm: float) -> None:
        """Take finite norms; steps that did not move, or weights that are zero, are not taken."""
        if update_norm <= 0.0 or weight_norm <= 0.0:
            return
        self.count += 1
        self.weight = weight_norm
        if self.first_weight == 0.0:
            self.first_weight = weight_norm
        ln_r = math.log(update_norm) - math.log(weight_norm)
        self.ln_top = max(self.ln_top, ln_r)
        self.smooth.update(ln_r)

    @property
    def ratio(self) -> float:
        """The relative step r."""
        return math.exp(self.smooth.mean)

    def over(self, steps: float) -> float:
        """R over a horizon of so many steps."""
        return self.ratio * math.sqrt(steps)

    @property
    def travel(self) -> float:
        """Least distance from the first weights seen, in their own length, as far as the growth of the norm tells.

        Steps that do not know of each other are orthogonal to the weights in high dimension, so that squares add up.
        """
        if self.first_weight <= 0.0:
            return 0.0
        growth = min(self.weight / self.first_weight, 1e100)
        return math.sqrt(max(growth * growth - 1.0, 0.0))

    def reset(self, afresh: bool) -> None:
        """A new regime.

        Args:
            afresh: the travel counts from here, too.
        """
        self.count = 0
        if afresh:
            self.first_weight = 0.0
        self.ln_top = -math.inf
        self.smooth.reset()

    def state(self) -> dict[str, object]:
        """See `Saved.state`."""
        return {**super().state(), "smooth": self.smooth.state()}

    def load(self, state: dict[str, object]) -> None:
        """See `Saved.load`."""
        super().load(state)
        self.smooth.load(state["smooth"])  # type: ignore[arg-type]  # a dict, as `state` made it
