"""Written series: what a job of a kind would report."""

from __future__ import annotations

import numpy as np

from steersman.rules.samples import Column, Floats, Samples


def job(
    loss: Floats,
    lr: Floats | float = 1e-3,
    c: float | None = 0.0,
    r: float | Floats = 0.01,
    weight: Floats | float = 10.0,
    promise: float | None = None,
    val: Floats | None = None,
    grad: Floats | None = None,
) -> Samples:
    """Rows with a direction every tenth step, as the probe reports them, and a validation value every 50th."""
    n = len(loss)
    rng = np.random.default_rng(7)
    tenth = np.arange(n) % 10 == 0
    tenth[0] = False
    w = np.broadcast_to(np.asarray(weight, float), (n,)).copy()
    columns = {
        "loss": Column.full(loss),
        "grad_norm": Column.full(grad if grad is not None else np.exp(0.1 * rng.standard_normal(n))),
        "lr/0": Column.full(np.broadcast_to(np.asarray(lr, float), (n,)).copy()),
    }
    if c is not None:
        columns["hypergrad_cos"] = Column(c + 0.02 * rng.standard_normal(n), tenth)
        columns["update_norm"] = Column(np.broadcast_to(np.asarray(r, float), (n,)) * w, tenth)
        columns["weight_norm"] = Column(w, tenth)
    if promise is not None:
        columns["predicted_decrease"] = Column(np.full(n, promise), tenth)
    if val is not None:
        columns["val_loss"] = Column(val, np.arange(n) % 50 == 49)
    return Samples(np.arange(n), np.asarray(1e9 + np.arange(n) * 0.02, np.float64), columns)


def falling(n: int = 600, start: float = 4.0, power: float = 0.35, noise: float = 0.03, seed: int = 1) -> Floats:
    """A loss that falls as a power of the step."""
    rng = np.random.default_rng(seed)
    return np.asarray(start * np.arange(1, n + 1) ** -power * np.exp(noise * rng.standard_normal(n)), np.float64)


def flat(n: int, level: float, noise: float = 0.02, seed: int = 1) -> Floats:
    """A loss that stays where it is."""
    rng = np.random.default_rng(seed)
    return np.asarray(level * np.exp(noise * rng.standard_normal(n)))


def stalled(n: int = 300, seed: int = 1, depth: float = 0.1) -> Floats:
    """A loss that falls a little for 30 steps and then stays high."""
    first = 4.5 * np.exp(-np.minimum(np.arange(n), 30) / 30 * depth)
    return np.asarray(first * flat(n, 1.0, 0.02, seed))
