"""Which optimizer step each row of a log is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steersman.rules.readers.naming import Naming
from steersman.rules.readers.table import Table
from steersman.rules.samples import Bools, Column, Floats, Ints

_LARGEST = 2.0**53
_FEW = 8
"""Rows that may well be of one step: as many ranks or evaluations."""


@dataclass(frozen=True)
class Axis:
    """The steps of a log's rows.

    Attributes:
        steps: one a row.
        used: which of `step` and `epoch` they were made of.
        order: rows in the order of their steps, where the log has them in disorder.
        notes: what was done to them, a sentence each.
    """

    steps: Ints
    used: tuple[str, ...] = ()
    order: Ints | None = None
    notes: Sequence[str] = ()


def axis_of(table: Table, naming: Naming, as_written: bool = False) -> Axis:
    """The steps of a log: its own, or its epochs, or its rows; `as_written`: whatever their order."""
    lead = next((n for role, n in naming.chosen.items() if role == "loss"), None)
    shown = table.columns[lead].present if lead is not None else np.ones(table.rows, dtype=np.bool_)
    epoch = naming.chosen.get("epoch")
    name = naming.chosen.get("step")
    if name is not None and not _usable(table.columns[name]).any():
        words = f"{name!r} has no number that can be a step: rows are counted instead"
        return Axis(np.arange(table.rows, dtype=np.int64), notes=(words,))
    if name is not None:
        steps = _whole(table.columns[name])
        if as_written:
            return Axis(steps, ("step",))
        said = steps[shown]
        if len(said) > _FEW and (said == said[0]).all():
            words = f"{name!r} is {said[0]} in all {len(said):,} rows and no step: rows are counted instead"
            return Axis(np.arange(table.rows, dtype=np.int64), notes=(words,))
        if epoch is not None and (unrolled := _unrolled(steps, table.columns[epoch], shown)) is not None:
            words = f"{name!r} begins anew with each {epoch!r}: counted on from epoch to epoch"
            return Axis(unrolled, ("step", "epoch"), notes=(words,))
        return _ordered(steps, shown, name)
    if epoch is not None:
        column = table.columns[epoch]
        steps, known = _whole(column), column.values[shown & column.present]
        if len(known) and (known == np.rint(known)).all() and len(np.unique(known)) == len(known):
            return Axis(steps, ("epoch",), notes=("there is no step: epochs stand for steps",))
    return Axis(np.arange(table.rows, dtype=np.int64), notes=("there is no step: rows are counted instead",))


def _whole(column: Column) -> Ints:
    """Steps as whole numbers; a row without one is at the step of the row before it."""
    usable = _usable(column)
    n = len(column.values)
    if not n:
        return np.zeros(0, dtype=np.int64)
    at = np.maximum.accumulate(np.where(usable, np.arange(n), -1))
    filled: Floats = np.where(at >= 0, np.where(usable, column.values, 0.0)[np.maximum(at, 0)], 0.0)
    return np.asarray(np.rint(filled), dtype=np.int64)


def _usable(column: Column) -> Bools:
    return column.present & (np.abs(np.where(column.present, column.values, 0.0)) < _LARGEST)


def _unrolled(steps: Ints, epoch: Column, shown: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Ints | None:
    """Steps that begin anew with each epoch, counted on; None where they do not."""
    rows = np.flatnonzero(shown & epoch.present)
    if len(rows) < 4:
        return None
    known, epochs = steps[rows], epoch.values[rows]
    back = np.flatnonzero(known[1:] < known[:-1]) + 1
    risen = np.flatnonzero(np.floor(epochs[1:]) > np.floor(epochs[:-1])) + 1
    if len(risen) < 1 or len(back) < len(risen) or not np.isin(risen, back).all() or len(back) > len(risen) + 2:
        return None
    offset = np.zeros(len(steps), dtype=np.int64)
    for k in back.tolist():
        before, after = known[k - 1], known[k]
        stride = max(int(known[k - 1] - known[k - 2]), 1) if k >= 2 else 1
        # The next epoch's first row is one logging interval after this one's last, whatever number it bears.
        offset[rows[k] :] += before + stride - after
    return steps + offset


def _ordered(steps: Ints, shown: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], name: str) -> Axis:
    """Steps as they are, or, where several processes wrote into one file, in order."""
    known = steps[shown]
    back = int((known[1:] < known[:-1]).sum())
    again = int((known[1:] == known[:-1]).sum())
    if back > max(4, len(known) // 20) and len(np.unique(known)) * 4 < len(known) * 3 + 3:
        words = f"{name!r} goes back {back} times, as where several processes write: the last row of a step counts"
        return Axis(steps, ("step",), np.argsort(steps, kind="stable").astype(np.int64), (words,))
    if back > max(4, len(known) // 20):
        words = f"{name!r} goes back {back} times: the rows are put in order"
        return Axis(steps, ("step",), np.argsort(steps, kind="stable").astype(np.int64), (words,))
    if again * 3 > len(known) and len(known) > 3:
        words = f"{name!r} repeats in a row {again} times: the last row of a step counts"
        return Axis(steps, ("step",), np.argsort(steps, kind="stable").astype(np.int64), (words,))
    return Axis(steps, ("step",))
