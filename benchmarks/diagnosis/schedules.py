"""Learning rates over a run, as factors on its base rate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Schedule = Callable[[int], Floats]


def wsd(steps: int, warmup: float = 0.02, decay: float = 0.2) -> Floats:
    """Warm-up, constant, linear decay to zero: what the sweep runs."""
    t = np.arange(steps, dtype=np.float64)
    rise = np.minimum((t + 1) / max(warmup * steps, 1.0), 1.0)
    fall = np.minimum((steps - t) / max(decay * steps, 1.0), 1.0)
    return np.asarray(rise * fall)


def constant(steps: int) -> Floats:
    """Warm-up and nothing more."""
    return wsd(steps, decay=0.0)


def cosine(steps: int) -> Floats:
    """Warm-up, then half a cosine to a tenth."""
    t = np.arange(steps) / steps
    return np.asarray(wsd(steps, decay=0.0) * (0.1 + 0.45 * (1.0 + np.cos(np.pi * t))))


def cyclic(steps: int) -> Floats:
    """Triangles between a quarter and the whole, five of them."""
    t = (np.arange(steps) / steps * 5.0) % 1.0
    return np.asarray(0.25 + 0.75 * (1.0 - np.abs(2.0 * t - 1.0)))


def drop(steps: int) -> Floats:
    """A tenth from the middle on, as planned."""
    return np.asarray(wsd(steps, decay=0.0) * np.where(np.arange(steps) < steps // 2, 1.0, 0.1))


def rewarm(steps: int) -> Floats:
    """Decays by the middle, and warms up again."""
    half = wsd(steps // 2, warmup=0.04)
    return np.concatenate([half, half])


def linear(steps: int) -> Floats:
    """A tenth of the run to warm up, then a straight line to zero."""
    return wsd(steps, warmup=0.1, decay=0.9)


def root(steps: int) -> Floats:
    """Warm-up over a twentieth, then with the square root of the steps (Vaswani et al., 1706.03762)."""
    t = np.arange(1, steps + 1, dtype=np.float64) / max(0.05 * steps, 1.0)
    return np.asarray(np.minimum(t, t**-0.5))


SCHEDULES: dict[str, Schedule] = {
    "wsd": wsd,
    "constant": constant,
    "cosine": cosine,
    "cyclic": cyclic,
    "drop": drop,
    "rewarm": rewarm,
    "linear": linear,
    "root": root,
}
