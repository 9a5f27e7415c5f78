"""At most as many points as a screen can show, and none of them invented."""

from __future__ import annotations

import numpy as np

from steersman.rules.samples import Bools, Column, Floats, Ints, Samples


def thin(samples: Samples, points: int) -> Samples:
    """Cut one series down to at most so many points, keeping what the eye looks for.

    The points are cut into runs of equal length; each gives its smallest and its largest value and, where it has any,
    one NaN. The last and the first point of all, the smallest and the largest number, and one NaN, +inf and -inf each
    stay whatever happens, or as many of them, in this order, as may be kept. Every point returned is one that was
    stored, in its old place.

    Args:
        samples: one column, every row of it present, as `Store.series` returns.
        points: how many at most; 0 keeps all.

    >>> import numpy as np
    >>> loss = np.zeros(1000)
    >>> loss[500] = 9.0
    >>> s = Samples(np.arange(1000), np.arange(1000.0), {"loss": Column.full(loss)})
    >>> t = thin(s, 20)
    >>> len(t) <= 20, t.columns["loss"].values.max(), t.steps[-1]
    (True, np.float64(9.0), np.int64(999))
    """
    if points == 0 or len(samples) <= points:
        return samples
    ((name, column),) = samples.columns.items()
    keep = _chosen(column.values, points)
    values = Column(column.values[keep], column.present[keep], column.unit)
    return Samples(samples.steps[keep], samples.times[keep], {name: values})


def _chosen(values: Floats, points: int) -> Ints:
    keep = set(_landmarks(values)[:points])
    # A run gives at most three points, so as many runs are cut as surely fit beside the landmarks.
    runs = (points - len(keep)) // (3 if np.isnan(values).any() else 2)
    if runs > 0:
        edges = np.linspace(0, values.size, runs + 1).astype(np.int64)
        starts = np.unique(edges[:-1])
        keep |= _extremes(values, starts)
    return np.array(sorted(keep), dtype=np.int64)


def _landmarks(values: Floats) -> list[int]:
    keep = [values.size - 1, 0]
    finite: Bools = np.isfinite(values)
    if finite.any():
        keep.append(int(np.argmin(np.where(finite, values, np.inf))))
        keep.append(int(np.argmax(np.where(finite, values, -np.inf))))
    for odd in (np.isnan(values), np.isposinf(values), np.isneginf(values)):
        if odd.any():
            keep.append(int(np.argmax(odd)))
    return list(dict.fromkeys(keep))


def _extremes(values: Floats, starts: Ints) -> set[int]:
    keep: set[int] = set()
    for start, stop in zip(starts, [*starts[1:], values.size], strict=True):
        run = values[start:stop]
        unknown = np.isnan(run)
        if unknown.any():
            keep.add(int(start + np.argmax(unknown)))
        if not unknown.all():
            keep.add(int(start + np.nanargmin(run)))
            keep.add(int(start + np.nanargmax(run)))
    return keep
