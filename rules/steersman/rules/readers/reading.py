"""What readers have in common: rows of names and numbers become samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from steersman.rules.samples import Column, Samples


class ReadError(Exception):
    """A file that cannot be read as a run: what is wrong with it, and what to do."""


class Series:
    """Collects the rows of a run in the order in which they were written.

    Columns that a row lacks are unknown there. Rows of one step that follow each other are one sample, as where a
    trainer writes its training and its evaluation loss apart.
    """

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._times: list[float] = []
        self._columns: dict[str, dict[int, float]] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: int, values: Mapping[str, float], time: float = 0.0) -> None:
        """Take a row: values by the names that samples use (`loss`, `lr/GROUP`, `val_loss/SET`, …)."""
        if not values:
            return
        at = len(self._steps) - 1
        if at < 0 or self._steps[at] != step or any(at in self._columns.get(name, {}) for name in values):
            self._steps.append(step)
            self._times.append(time)
            at += 1
        for name, value in values.items():
            self._columns.setdefault(name, {})[at] = value

    def samples(self) -> Samples:
        """All rows, columnar."""
        n = len(self._steps)
        columns = {}
        for name, cells in self._columns.items():
            values, present = np.zeros(n), np.zeros(n, dtype=np.bool_)
            places = np.fromiter(cells.keys(), dtype=np.int64, count=len(cells))
            values[places] = np.fromiter(cells.values(), dtype=np.float64, count=len(cells))
            present[places] = True
            columns[name] = Column(values, present)
        return Samples(np.array(self._steps, dtype=np.int64), np.array(self._times, dtype=np.float64), columns)
