"""Turns a written series into numbers."""

from __future__ import annotations

import math
import zlib

import numpy as np

from steersman.rules.cases.notation import (
    Every,
    Gap,
    Mark,
    Noise,
    Notation,
    Override,
    Place,
    Scatter,
    Spike,
    Trend,
    Values,
    Wave,
)
from steersman.rules.samples import Bools, Column, Floats, Ints


def length(notation: Notation, interval: int) -> int | None:
    """Steps that a series covers; None where its last piece goes on to the end of the case.

    >>> from steersman.rules.cases.parser import parse
    >>> length(parse("4.0 -> 2.0 over 300 then 1 2 3")[0], interval=10)
    330
    """
    total = 0
    for piece in notation.pieces:
        if isinstance(piece, Values):
            total += len(piece.values) * interval
        elif piece.steps is None:
            return None
        else:
            total += piece.steps
    return total


def draw(notation: Notation, steps: Ints, name: str, seed: int) -> Column:
    """The series at these steps, the same for the same name and seed.

    Args:
        notation: what was written.
        steps: of the rows, rising evenly from 0.
        name: of the series.
        seed: of the case.
    """
    # RandomState, because its numbers are promised never to change; the newer generators' are not.
    rng = np.random.RandomState(zlib.crc32(f"{seed}/{name}".encode()))
    values, present = np.zeros(len(steps)), np.zeros(len(steps), dtype=np.bool_)
    _pieces(notation, steps, values, present, rng)
    with np.errstate(over="ignore", invalid="ignore"):
        for mark in notation.marks:
            _lay(mark, steps, values, present, rng)
    return Column(values, present)


def _pieces(notation: Notation, steps: Ints, values: Floats, present: Bools, rng: np.random.RandomState) -> None:
    end = int(steps[-1]) + 1
    interval = int(steps[1] - steps[0]) if len(steps) > 1 else 1
    at, last = 0, 0.0
    for piece in notation.pieces:
        if isinstance(piece, Values):
            first = -(-at // interval)
            for k, value in enumerate(piece.values[: max(len(steps) - first, 0)]):
                if value is not None:
                    values[first + k], present[first + k] = value, True
            last = next((v for v in reversed(piece.values) if v is not None), last)
            at += len(piece.values) * interval
            continue
        size = piece.steps if piece.steps is not None else max(end - at, 1)
        here = (steps >= at) & (steps < at + size)
        values[here] = _scattered(_trend(piece, steps[here] - at, size, last), piece.noise, rng)
        present |= here
        last = piece.end if piece.end is not None else last if piece.start is None else piece.start
        at += size


def _trend(piece: Trend, k: Ints, size: int, last: float) -> Floats:
    start = last if piece.start is None else piece.start
    if piece.end is None:
        return np.full(len(k), start)
    # A trend that goes on from the piece before it does not stand still for a step.
    gone = k + 1.0 if piece.start is None else k.astype(np.float64)
    whole = max(size if piece.start is None else size - 1, 1)
    share = gone / whole
    if piece.shape == "cosine":
        share = (1.0 - np.cos(math.pi * share)) / 2.0
    if piece.shape in ("log", "power"):
        if start <= 0.0:
            return np.full(len(k), piece.end)
        if piece.shape == "power":
            share = np.log1p(gone) / math.log1p(whole)
        return np.asarray(start * (piece.end / start) ** share, dtype=np.float64)
    return np.asarray(start + (piece.end - start) * share, dtype=np.float64)


def _scattered(values: Floats, noise: Noise | None, rng: np.random.RandomState) -> Floats:
    if noise is None:
        return values
    scatter = noise.size * rng.standard_normal(len(values))
    return values * np.exp(scatter) if noise.relative else values + scatter


def _inside(place: Place, steps: Ints) -> Bools:
    if place.first is None or place.last is None:
        return np.ones(len(steps), dtype=np.bool_)
    return np.asarray((steps >= place.first) & (steps <= place.last))


def _lay(mark: Mark, steps: Ints, values: Floats, present: Bools, rng: np.random.RandomState) -> None:
    if isinstance(mark, Every):
        # The row at or after each step at which a value is due.
        due = np.floor_divide(steps - mark.first, mark.steps)
        present &= (steps >= mark.first) & (np.diff(due, prepend=-1) > 0)
        return
    here = _inside(mark.place, steps)
    if isinstance(mark, Scatter):
        values[here] = _scattered(values[here], mark.noise, rng)
    elif isinstance(mark, Wave):
        swing = mark.noise.size * np.sin(2.0 * math.pi * steps[here] / mark.period)
        values[here] = values[here] * np.exp(swing) if mark.noise.relative else values[here] + swing
    elif isinstance(mark, Spike):
        values[here] = values[here] * mark.factor + mark.plus
    elif isinstance(mark, Override):
        values[here] = mark.value
        present |= here
    else:
        assert isinstance(mark, Gap)
        present &= ~here
