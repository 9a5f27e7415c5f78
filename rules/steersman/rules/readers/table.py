"""Rows of a log under the log's own names, columnar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeGuard

import numpy as np

from steersman.rules.readers.numerals import Signs, Written, read_cells
from steersman.rules.samples import Bools, Column, Floats, Ints

MAX_COLUMNS = 4096
"""Names kept at most: a log that makes up a name a row must not fill the memory."""

MAX_TEXTS = 16
"""Columns of words kept at most."""


@dataclass(frozen=True)
class Table:
    """Rows in the order in which they were written.

    Attributes:
        rows: how many.
        columns: numbers, by the log's own names, in the order of their first appearance.
        texts: words, as where a column says which part of the data a row speaks of.
    """

    rows: int
    columns: Mapping[str, Column]
    texts: Mapping[str, Sequence[str | None]] = field(default_factory=dict)

    def pick(self, chosen: Bools) -> Table:
        """The chosen rows alone, without columns that are empty then."""
        columns = {n: Column(c.values[chosen], c.present[chosen], c.unit) for n, c in self.columns.items()}
        places = np.flatnonzero(chosen).tolist()
        return Table(
            int(chosen.sum()),
            {n: c for n, c in columns.items() if c.present.any()},
            {n: [words[k] for k in places] for n, words in self.texts.items()},
        )


class TableBuilder:
    """Collects columns piece by piece, each piece for consecutive rows."""

    def __init__(self) -> None:
        self.rows = 0
        self.dropped = 0
        self.signs = Signs()
        self._pieces: dict[str, list[tuple[int, Floats, Bools]]] = {}
        self._commas: dict[str, dict[int, Floats]] = {}
        self._column_signs: dict[str, Signs] = {}
        self._texts: dict[str, list[tuple[int, Sequence[str | None]]]] = {}

    def put(self, name: str, values: Floats, present: Bools, at: int | None = None) -> None:
        """Values of one column for the rows from `at` on; by default for those that `grow` adds next."""
        pieces = self._pieces.get(name)
        if pieces is None:
            if len(self._pieces) >= MAX_COLUMNS:
                self.dropped += 1
                return
            pieces = self._pieces[name] = []
        pieces.append((self.rows if at is None else at, values, present))

    def put_written(self, name: str, written: Written) -> None:
        """The same for cells whose mark before the decimals is known only when all of the column is."""
        self.signs.add(written.signs)
        self._column_signs.setdefault(name, Signs()).add(written.signs)
        self.put(name, written.point, written.present)
        if name in self._pieces and not np.array_equal(written.point, written.comma, equal_nan=True):
            self._commas.setdefault(name, {})[len(self._pieces[name]) - 1] = written.comma

    def put_words(self, name: str, words: Sequence[str | None]) -> None:
        """The same for words."""
        if name in self._texts or len(self._texts) < MAX_TEXTS:
            self._texts.setdefault(name, []).append((self.rows, words))

    def grow(self, rows: int) -> None:
        """The rows of what was put are complete."""
        self.rows += rows

    def add(self, dicts: Sequence[Mapping[str, object]]) -> None:
        """Rows as mappings of names to anything; what is neither number nor word is passed over."""
        shapes = set(map(tuple, dicts))
        if len(shapes) == 1:
            # Most logs have the same names in each row: their cells are columns at once.
            for name, cells in zip(shapes.pop(), zip(*(row.values() for row in dicts), strict=True), strict=True):
                self._put_cells(str(name), cells)
        else:
            for name in dict.fromkeys(name for row in dicts for name in row):
                self._put_cells(str(name), [row.get(name) for row in dicts])
        self.grow(len(dicts))

    def _put_cells(self, name: str, cells: Sequence[object]) -> None:
        kinds = set(map(type, cells))
        if kinds <= {float, int}:
            try:
                self.put(name, np.array(cells, dtype=np.float64), np.ones(len(cells), dtype=np.bool_))
                return
            except OverflowError:
                pass
        if kinds == {str}:
            try:
                # A reader of text leaves the conversion to us: a whole column at a time.
                self.put(name, np.fromiter(map(float, cells), np.float64, len(cells)), np.ones(len(cells), np.bool_))  # type: ignore[arg-type]  # all are str
                return
            except ValueError:
                pass
        values = [_as_float(cell) if isinstance(cell, float | int) else None for cell in cells]
        present = np.array([v is not None for v in values], dtype=np.bool_)
        numbers = np.array([0.0 if v is None else v for v in values], dtype=np.float64)
        if str not in kinds:
            if present.any():
                self.put(name, numbers, present)
            return
        read = read_cells([cell if _may_be_number(cell) else "" for cell in cells])
        there = read.present | present
        if there.any():
            point, comma = np.where(present, numbers, read.point), np.where(present, numbers, read.comma)
            self.put_written(name, Written(point, comma, there, read.signs))
        words = [cell[:200] if isinstance(cell, str) else None for cell in cells]
        self.put_words(name, [None if number else word for word, number in zip(words, there.tolist(), strict=True)])

    def table(self) -> Table:
        """All rows."""
        columns = {}
        for name, pieces in self._pieces.items():
            values, present = np.zeros(self.rows), np.zeros(self.rows, dtype=np.bool_)
            for start, some, there in self._decided(name, pieces):
                values[start : start + len(some)] = some
                present[start : start + len(some)] = there
            columns[name] = Column(values, present)
        texts = {}
        for name, parts in self._texts.items():
            words: list[str | None] = [None] * self.rows
            for start, several in parts:
                words[start : start + len(several)] = several
            texts[name] = words
        return Table(self.rows, columns, texts)

    def _decided(self, name: str, pieces: list[tuple[int, Floats, Bools]]) -> list[tuple[int, Floats, Bools]]:
        """The pieces of a column with the mark before the decimals that all its cells together tell."""
        commas = self._commas.get(name)
        if commas is None:
            return pieces
        signs = replace(self._column_signs[name])
        for k, (_, values, present) in enumerate(pieces):
            if k not in commas:
                finite = np.abs(values[present & np.isfinite(values)])
                signs.largest = max(signs.largest, float(finite.max(initial=-1.0)))
        if signs.mark(self.signs) == ".":
            return pieces
        return [(at, commas.get(k, values), present) for k, (at, values, present) in enumerate(pieces)]


def _may_be_number(cell: object) -> TypeGuard[str]:
    return isinstance(cell, str) and 0 < len(cell) <= 40 and cell[0] in "0123456789.+-nNiI"


def _as_float(cell: float) -> float | None:
    try:
        return float(cell)
    except OverflowError:
        return None


def from_points(points: Mapping[str, tuple[Sequence[int], Sequence[int], Sequence[float], Sequence[float]]]) -> Table:
    """A table of series that were written point by point.

    Args:
        points: by name: the order of writing, the step, the value, the time of each point.

    Points of one step that follow each other are one row, unless a series has two of them there.
    """
    if not points:
        return Table(0, {})
    names = list(points)
    order = np.concatenate([np.asarray(points[n][0], dtype=np.int64) for n in names])
    steps = np.concatenate([np.asarray(points[n][1], dtype=np.int64) for n in names])
    values = np.concatenate([np.asarray(points[n][2], dtype=np.float64) for n in names])
    times = np.concatenate([np.asarray(points[n][3], dtype=np.float64) for n in names])
    which = np.repeat(np.arange(len(names)), [len(points[n][0]) for n in names])
    place = np.argsort(order, kind="stable")
    steps, values, times, which = steps[place], values[place], times[place], which[place]
    row = rows_of(steps, which)
    count = int(row[-1]) + 1 if len(row) else 0
    columns: dict[str, Column] = {}
    axis = np.zeros(count)
    axis[row] = steps
    clock = np.zeros(count)
    clock[row] = times
    columns["step"] = Column.full(axis)
    columns["wall_time"] = Column.full(clock)
    for k, name in enumerate(names):
        mine = which == k
        cells, there = np.zeros(count), np.zeros(count, dtype=np.bool_)
        cells[row[mine]] = values[mine]
        there[row[mine]] = True
        columns[name if name not in ("step", "wall_time") else f"{name} (logged)"] = Column(cells, there)
    return Table(count, columns)


def rows_of(steps: Ints, which: Ints) -> Ints:
    """The row of each point: a new one where the step changes, or where a series comes again at one step."""
    n = len(steps)
    if not n:
        return np.zeros(0, dtype=np.int64)
    new = np.ones(n, dtype=np.bool_)
    new[1:] = steps[1:] != steps[:-1]
    run = np.cumsum(new) - 1
    # A series that comes k times in a run of one step needs k rows there: its k-th point goes into the k-th.
    pair = run * (int(which.max()) + 1) + which
    place = np.argsort(pair, kind="stable")
    sorted_pair = pair[place]
    first = np.ones(n, dtype=np.bool_)
    first[1:] = sorted_pair[1:] != sorted_pair[:-1]
    starts = np.maximum.accumulate(np.where(first, np.arange(n), 0))
    again = np.zeros(n, dtype=np.int64)
    again[place] = np.arange(n) - starts
    if not again.any():
        return run.astype(np.int64)
    depth = np.zeros(int(run[-1]) + 1, dtype=np.int64)
    np.maximum.at(depth, run, again)
    before = np.concatenate([[0], np.cumsum(depth + 1)[:-1]])
    return np.asarray(before[run] + again, dtype=np.int64)


def texts_of(table: Table, names: Iterable[str]) -> tuple[str, Sequence[str | None]] | None:
    """The first column of words by one of these names."""
    for name, words in table.texts.items():
        if name.lower() in names:
            return name, words
    return None
