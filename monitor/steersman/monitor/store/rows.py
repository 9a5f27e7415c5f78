"""Putting rows together and picking points out of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steersman.monitor.errors import StoreError
from steersman.rules.samples import Column, Samples


def joined(pieces: Sequence[Samples]) -> Samples:
    """One Samples after the other; a column that a piece does not have is absent over its rows.

    >>> a = Samples(np.array([0]), np.array([0.0]), {"loss": Column.full([1.0])})
    >>> b = Samples(np.array([1]), np.array([1.0]), {"grad_norm": Column.full([2.0])})
    >>> joined([a, b]).columns["loss"].present.tolist()
    [True, False]
    """
    if len(pieces) == 1:
        return pieces[0]
    if not pieces:
        return Samples(np.empty(0, np.int64), np.empty(0, np.float64))
    size = sum(map(len, pieces))
    columns: dict[str, Column] = {}
    start = 0
    for piece in pieces:
        stop = start + len(piece)
        for name, column in piece.columns.items():
            if name not in columns:
                columns[name] = Column(np.zeros(size, np.float64), np.zeros(size, np.bool_), column.unit)
            columns[name].values[start:stop] = column.values
            columns[name].present[start:stop] = column.present
        start = stop
    return Samples(
        np.concatenate([piece.steps for piece in pieces]), np.concatenate([piece.times for piece in pieces]), columns
    )


def points(samples: Samples, name: str, unit: str, from_step: int, to_step: int | None) -> Samples:
    """The points of one series between two steps, both inclusive; rows in which it is absent are left out."""
    column = samples.columns.get(name)
    if column is None:
        return Samples(np.empty(0, np.int64), np.empty(0, np.float64), {name: Column.full([], unit)})
    keep = column.present & (samples.steps >= from_step)
    if to_step is not None:
        keep &= samples.steps <= to_step
    return Samples(samples.steps[keep], samples.times[keep], {name: Column.full(column.values[keep], unit)})


def owned(samples: Samples, what: str) -> Samples:
    """A copy that no caller can change, of the types that the store keeps, without NUL in the names.

    Raises:
        StoreError: its arrays are not of one length.
    """
    steps = np.array(samples.steps, dtype=np.int64)
    times = np.array(samples.times, dtype=np.float64)
    columns: dict[str, Column] = {}
    lengths = {"steps": steps.shape, "times": times.shape}
    for name, column in samples.columns.items():
        lengths[name] = column.values.shape
        lengths[f"presence of {name}"] = column.present.shape
        columns[clean(name)] = Column(
            np.array(column.values, dtype=np.float64), np.array(column.present, dtype=np.bool_), clean(column.unit)
        )
    wrong = [name for name, shape in lengths.items() if shape != (steps.size,)]
    if wrong:
        raise StoreError(f"rows of {what} have {steps.size} steps, but another length of {', '.join(wrong)}")
    return Samples(steps, times, columns)


def clean(text: str) -> str:
    """Text that every store can keep: PostgreSQL refuses NUL."""
    return text.replace("\x00", "\ufffd")
