"""CSV and its kin: any delimiter, any names, with a header or without."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np

from steersman.rules.readers.lines import MAX_LINE, MAX_ROWS, decode, text_blocks
from steersman.rules.readers.numerals import Written, as_number, read_cells
from steersman.rules.readers.reading import Format, Log, ReadError
from steersman.rules.readers.table import MAX_COLUMNS, TableBuilder
from steersman.rules.samples import Bools, Floats

_ROWS = 16384
_DELIMITERS = ",\t;|"


def recognises(path: Path, head: bytes) -> bool:
    """Whether a file is named as a table, or begins with several lines of as many cells each, numbers among them."""
    lines = [line for line in decode(head).splitlines()[:20] if line.strip()]
    if not lines or b"\0" in head[:4096] or lines[0].lstrip()[:1] in ("{", "["):
        return False
    mark = delimiter(lines[0])
    if path.suffix.lower() in (".csv", ".tsv"):
        return True
    if not mark or len(lines) < 2:
        return False
    cells = [line.split(mark) for line in lines[:-1] or lines]
    if all(any(cell.rstrip().endswith((":", "=")) for cell in row) for row in cells[:2]):
        return False  # names stand beside their numbers in each line: a text, whose columns have no names
    if len(cells) > 1 and any(
        "loss" in cell.lower() and cell == below and _begins_with_number(after)
        for cell, below, after in zip(cells[0], cells[1], cells[0][1:], strict=False)
    ):
        return False  # the same, as `step 1 loss 1.9`
    alike = sum(len(row) == len(cells[0]) for row in cells) >= 0.9 * len(cells)
    return alike and any(as_number(cell) is not None for row in cells[1:] for cell in row)


def _begins_with_number(cell: str) -> bool:
    return cell.lstrip(" (+-.").removeprefix("tensor(")[:1].isdigit()


def delimiter(line: str) -> str:
    """What parts the cells of a line; empty where nothing does."""
    counts = {mark: line.count(mark) for mark in _DELIMITERS}
    best = max(counts, key=lambda mark: counts[mark])
    if counts[best]:
        return best
    return " " if len(line.strip("# \t").split()) > 1 else ""


def read(path: Path) -> list[Log]:
    """Read a table; cells that are no numbers are unknown, rows that are too short lack their last cells."""
    ended = True

    def each_line() -> Iterator[str]:
        nonlocal ended
        for block in text_blocks(path):
            ended = block.endswith("\n")
            yield from block.splitlines()

    lines = each_line()
    names, first, mark = _header(lines)
    if not names:
        raise ReadError(f"none of its lines has fewer than {MAX_LINE >> 20} MiB, as the rows of a log have")
    builder = TableBuilder()
    rows = _Rows(chain(first, lines), mark, len(names))
    notes = []
    width = 0
    chunk = rows.take(_ROWS)
    while chunk:
        coming = rows.take(_ROWS)
        if len(chunk) > 1:
            width = len(chunk[-2])
        if not coming and not ended and len(chunk[-1]) < len(names) <= width:
            # Its last number may be half of one.
            chunk.pop()
            notes.append("the last row is cut off, as where a job was killed while it wrote: left out")
        if chunk:
            width = len(chunk[-1])
            _put(builder, names, chunk)
        if builder.rows > MAX_ROWS:
            raise ReadError(f"it has more than the {MAX_ROWS:,} rows that are read")
        chunk = coming
    if not builder.rows:
        raise ReadError("it has a header and no row")
    if rows.unclosed:
        notes.append(f"{rows.unclosed} rows have a quotation mark without an end: taken for a sign like any other")
    if builder.dropped:
        notes.append(f"it has {len(names):,} columns: only the first {MAX_COLUMNS:,} that have numbers are read")
    return [Log("", builder.table(), notes=tuple(notes))]


class _Rows:
    """The rows of a table, cell by cell.

    Args:
        lines: without the header.
        mark: what parts cells.
        width: how many there should be.
    """

    def __init__(self, lines: Iterator[str], mark: str, width: int) -> None:
        self.unclosed = 0
        self._lines = lines
        self._mark = mark or ","
        self._width = width
        self._quoted: Iterator[list[str]] | None = None

    def take(self, count: int) -> list[list[str]]:
        """So many rows, or what is left; empty at the end."""
        while True:
            if self._quoted is not None:
                return list(islice(self._quoted, count))
            lines = list(islice(self._lines, count))
            if self._mark == " ":
                rows = [cells for line in lines if (cells := line.split())]
            elif any('"' in line for line in lines):
                # From the first quotation mark on: a cell may have ends of lines in it.
                self._quoted = self._read_quoted(chain(lines, self._lines))
                continue
            else:
                rows = [line.split(self._mark) for line in lines if line]
            if rows or not lines:
                return rows

    def _read_quoted(self, lines: Iterator[str]) -> Iterator[list[str]]:
        taken: list[str] = []

        def noted() -> Iterator[str]:
            for line in lines:
                taken.append(line)
                yield line

        while True:
            reader = csv.reader(noted(), delimiter=self._mark)
            try:
                for row in reader:
                    if len(taken) > 1 and len(row) != self._width:
                        yield from self._apart(taken)
                    elif row:
                        yield row
                    taken.clear()
                return
            except csv.Error:
                yield from self._apart(taken)
                taken.clear()

    def _apart(self, lines: Sequence[str]) -> Iterator[list[str]]:
        """Lines that an unclosed quotation mark has made one: each is a row."""
        self.unclosed += sum('"' in line for line in lines)
        return (line.split(self._mark) for line in lines if line)


def _header(lines: Iterator[str]) -> tuple[list[str], list[str], str]:
    """Names, the lines read that are rows, and the delimiter. Without a header columns are `1`, `2`, `3`."""
    comment = ""
    for line in lines:
        if not line.strip():
            continue
        if line.lstrip().startswith("#"):
            comment = line.lstrip("# ")
            continue
        mark = delimiter(line)
        cells = _cells(line, mark)
        if any(as_number(cell) is not None for cell in cells):
            said = _cells(comment, delimiter(comment) if comment else mark)
            if len(said) == len(cells):
                return _distinct(said), [line], mark
            return _numbered(len(cells)), [line], mark
        return _distinct(cells), [], mark
    return [], [], ""


def _cells(line: str, mark: str) -> list[str]:
    if mark == " ":
        return line.split()
    try:
        return next(csv.reader([line], delimiter=mark or ","), [])
    except csv.Error:
        return line.split(mark or ",")


def _numbered(count: int) -> list[str]:
    return [str(k + 1) for k in range(count)]


def _distinct(cells: Sequence[str]) -> list[str]:
    names: dict[str, None] = {}
    for k, cell in enumerate(cells):
        name = cell.strip()[:200] or str(k + 1)
        names[name if name not in names else f"{name} ({k + 1})"] = None
    return list(names)


def _put(builder: TableBuilder, names: Sequence[str], chunk: list[list[str]]) -> None:
    width = len(names)
    try:
        columns: list[Sequence[str]] = list(zip(*chunk, strict=True))
    except ValueError:
        columns = list(zip(*[(row + [""] * (width - len(row)))[:width] for row in chunk], strict=True))
    plain = [_plain(cells) for cells in columns]
    written = [read_cells(cells) if numbers is None else None for cells, numbers in zip(columns, plain, strict=True)]
    # Where a number of a file has a comma, what a point is in another is to be found out, too.
    marked = builder.signs.marked or any(read is not None and read.signs.marked for read in written)
    for name, cells, numbers, read in zip(names, columns, plain, written, strict=False):
        if numbers is not None and not (marked and any("." in cell for cell in cells)):
            if numbers[1].any():
                builder.put(name, *numbers)
        else:
            _put_written(builder, name, cells, read or read_cells(cells))
    builder.grow(len(chunk))


def _plain(cells: Sequence[str]) -> tuple[Floats, Bools] | None:
    """The numbers of cells and where they are, if all cells that are not empty are such as Python writes."""
    n = len(cells)
    try:
        return np.fromiter(map(float, cells), np.float64, n), np.ones(n, dtype=np.bool_)
    except ValueError:
        pass
    try:
        values = np.fromiter([float(cell) if cell else 0.0 for cell in cells], np.float64, n)
    except ValueError:
        return None
    return values, np.fromiter(map(bool, cells), np.bool_, n)


def _put_written(builder: TableBuilder, name: str, cells: Sequence[str], read: Written) -> None:
    if not read.present.all():
        there = read.present.tolist()
        words = [None if number or not cell else cell.strip()[:200] for cell, number in zip(cells, there, strict=True)]
        if any(words):
            builder.put_words(name, words)
    if read.present.any():
        builder.put_written(name, read)


FORMAT = Format("csv", "a table with a header, any names and delimiter", recognises, read, sure=False)
