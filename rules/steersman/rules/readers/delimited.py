"""CSV and its kin: any delimiter, any names, with a header or without."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np

from steersman.rules.readers.lines import MAX_ROWS, decode, text_blocks
from steersman.rules.readers.reading import Format, Log, ReadError
from steersman.rules.readers.table import TableBuilder, as_number

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
    alike = sum(len(row) == len(cells[0]) for row in cells) >= 0.9 * len(cells)
    return alike and any(as_number(cell) is not None for row in cells[1:] for cell in row)


def delimiter(line: str) -> str:
    """What parts the cells of a line; empty where nothing does."""
    counts = {mark: line.count(mark) for mark in _DELIMITERS}
    best = max(counts, key=lambda mark: counts[mark])
    if counts[best]:
        return best
    return " " if len(line.strip("# \t").split()) > 1 else ""


def read(path: Path) -> list[Log]:
    """Read a table; cells that are no numbers are unknown, rows that are too short lack their last cells."""
    lines = chain.from_iterable(block.splitlines() for block in text_blocks(path))
    names, first, mark = _header(lines)
    if not names:
        raise ReadError("it is empty")
    builder = TableBuilder()
    rows = _rows(chain(first, lines), mark)
    notes: list[str] = []
    while True:
        try:
            chunk = [row for row in islice(rows, _ROWS) if row]
        except csv.Error as error:
            notes.append(f"what comes after row {builder.rows:,} cannot be read: {error}")
            break
        if not chunk:
            break
        _put(builder, names, chunk)
        if builder.rows > MAX_ROWS:
            raise ReadError(f"it has more than the {MAX_ROWS:,} rows that are read")
    if not builder.rows:
        raise ReadError("it has a header and no row")
    return [Log("", builder.table(), notes=tuple(notes))]


def _rows(lines: Iterator[str], mark: str) -> Iterator[list[str]]:
    if mark == " ":
        return (line.split() for line in lines)
    return csv.reader(lines, delimiter=mark or ",")


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
        cells = next(_rows(iter([line]), mark), [])
        if any(as_number(cell) is not None for cell in cells):
            said = next(_rows(iter([comment]), delimiter(comment) if comment else mark), [])
            if len(said) == len(cells):
                return _distinct(said), [line], mark
            return _numbered(len(cells)), [line], mark
        return _distinct(cells), [], mark
    return [], [], ""


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
    for name, cells in zip(names, columns, strict=False):
        _put_column(builder, name, cells)
    builder.grow(len(chunk))


def _put_column(builder: TableBuilder, name: str, cells: Sequence[str]) -> None:
    n = len(cells)
    try:
        builder.put(name, np.fromiter(map(float, cells), np.float64, n), np.ones(n, dtype=np.bool_))
        return
    except ValueError:
        pass
    try:
        values = np.fromiter([float(cell) if cell else 0.0 for cell in cells], np.float64, n)
        present = np.fromiter(map(bool, cells), np.bool_, n)
    except ValueError:
        read = [as_number(cell) for cell in cells]
        values = np.array([0.0 if v is None else v for v in read], dtype=np.float64)
        present = np.array([v is not None for v in read], dtype=np.bool_)
        if not present.all():
            words = [cell.strip()[:200] if v is None and cell else None for cell, v in zip(cells, read, strict=True)]
            if any(words):
                builder.put_words(name, words)
    if present.any():
        builder.put(name, values, present)


FORMAT = Format("csv", "a table with a header, any names and delimiter", recognises, read, sure=False)
