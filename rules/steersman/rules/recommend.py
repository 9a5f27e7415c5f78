"""The learning rate to use instead."""

from __future__ import annotations

import math
from collections.abc import Mapping

from steersman.rules.verdict import RecommendedLR

Value = float | bool | None

BLOWN = 5.0
"""Travel of the weights, in their own length, beyond which they have been blown up."""

HEALTHY_R = 0.4
"""R = r sqrt(T) of tuned runs: 0.28 to 0.50 in the pilot, whatever the length of the run."""

_ADAM = ("adam", "lamb", "lion", "nadam", "radam", "adamax")
_ADAM_CENTRE = 2e-3
_ADAM_SD = math.log(8.0)


def is_adam(optimizer: str) -> bool:
    """Whether an optimizer moves each coordinate by about its LR whatever the gradient.

    >>> is_adam("AdamW"), is_adam("SGD")
    (True, False)
    """
    return any(word in optimizer.lower() for word in _ADAM)


def lower(
    values: Mapping[str, Value],
    lr: float,
    optimizer: str,
    stable: float | None,
    unstable: float | None,
    in_warmup: bool = False,
) -> RecommendedLR:
    """A learning rate below one that is too high.

    The estimate brings the longest relative step of the regime to that of tuned runs. It is too high when the weights
    have been blown up before they were first seen. For optimizers that move each coordinate by about the LR, the range
    in which such LRs have worked is a second, weak opinion, because there the LR is itself a relative step. An LR at
    which this job was seen to be stable is a lower limit, 0.7 of the lowest that ever broke an upper one.

    Args:
        values: the features.
        lr: in force.
        optimizer: class name.
        stable: highest LR at which this job improved undisturbed.
        unstable: lowest LR that was found too high.
        in_warmup: whether it broke before its warm-up was over.
    """
    top, best = values.get("r_top"), values.get("ln_best")
    horizon = values.get("horizon") or 1000.0
    error = math.log(4.0)
    judged = False
    if (values.get("travel") or 0.0) > BLOWN or (best is None and top is None):
        # Steps that grew with the weights they blew up tell nothing of the rate. Of jobs of the sweep that did so, the
        # best rate was two to five octaves below, and less where it broke before the warm-up had brought it there.
        estimate, judged = math.log(lr) - (2.5 if in_warmup else 3.5) * math.log(2.0), True
    elif best is not None and best < math.log(lr):
        estimate, judged = best, True
    elif top is not None and top > 0.0:
        estimate = math.log(lr) + math.log(HEALTHY_R / math.sqrt(horizon) / top)
    else:
        estimate = math.log(lr) - 2.0 * math.log(2.0)
    if not judged and is_adam(optimizer):
        weight = error**-2
        prior = _ADAM_SD**-2
        estimate = (estimate * weight + math.log(_ADAM_CENTRE) * prior) / (weight + prior)
        error = (weight + prior) ** -0.5
    # Beyond a factor of ten thousand the estimate is nonsense.
    estimate = max(estimate, math.log(lr) - math.log(1e4))
    ceiling = math.log(0.5 * min(lr, unstable or lr))
    floor = math.log(min(stable, 0.5 * lr)) if stable else -math.inf
    value = min(max(estimate, floor), ceiling)
    low, high = value - error, min(value + error, math.log(0.7 * min(lr, unstable or lr)))
    return RecommendedLR(math.exp(value), math.exp(low), math.exp(max(high, value)))


def higher(values: Mapping[str, Value], lr: float, unstable: float | None) -> RecommendedLR | None:
    """A learning rate above one that is too low; None where the LR is zero or steps are not known."""
    if lr <= 0.0:
        return None
    r = values.get("r")
    horizon = values.get("horizon") or 1000.0
    octaves = values.get("octaves")
    if octaves is not None and octaves < -0.5:
        factor, spread = min(max(2.0**-octaves, 2.0), 128.0), 4.0
    elif r is not None and r > 0.0:
        factor = min(max(HEALTHY_R / math.sqrt(horizon) / r, 2.0), 64.0)
        spread = 3.0
    else:
        factor, spread = 2.0, 4.0
    limit = 0.7 * unstable if unstable else math.inf
    value = min(lr * factor, limit)
    if value <= lr:
        return None
    return RecommendedLR(value, max(value / spread, lr), min(value * spread, limit))
