"""A JSON object a line, or one JSON list of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from steersman.rules.facts import JobFacts
from steersman.rules.readers.lines import MAX_ROWS, text_blocks
from steersman.rules.readers.reading import Format, Log, ReadError
from steersman.rules.readers.table import TableBuilder

_ROWS = 8192


def recognises(path: Path, head: bytes) -> bool:
    """Whether the first line that is not empty is a JSON object with a name in it."""
    del path
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return start.startswith(b"{") and b'"' in start[:200] and b":" in start[:4096]


def read(path: Path) -> list[Log]:
    """Read the objects of a file; lines that are no objects are passed over and counted."""
    builder = TableBuilder()
    broken = Broken()
    for block in text_blocks(path):
        lines = iter(block.split("\n"))
        while chunk := list(islice(lines, _ROWS)):
            builder.add(list(objects(chunk, broken)))
            if builder.rows > MAX_ROWS:
                raise ReadError(f"it has more than the {MAX_ROWS:,} rows that are read")
    if not builder.rows:
        raise ReadError("no line of it is a JSON object")
    return [Log("", builder.table(), JobFacts(), broken.notes())]


class Broken:
    """Counts the lines that are no objects."""

    def __init__(self) -> None:
        self.count = 0
        self.last = ""

    def notes(self) -> tuple[str, ...]:
        """What is to be said of them."""
        if not self.count:
            return ()
        if self.count == 1:
            return ("one line is no whole JSON object, as where a job was killed while it wrote: left out",)
        return (f"{self.count:,} lines are no JSON objects: left out",)


def objects(lines: Sequence[str], broken: Broken) -> Iterator[dict[str, object]]:
    """The objects of some lines, one level of nesting opened: `{"train": {"loss": 1}}` has `train/loss`."""
    kept = [line for line in lines if line and not line.isspace()]
    if not kept:
        return
    text = f"[{','.join(kept)}]"
    try:
        # One call for many lines is twice as fast as a call each.
        rows = json.loads(text)
    except (ValueError, RecursionError):
        rows = None
    if rows is None or len(rows) != len(kept):
        rows = []
        for line in kept:
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError):
                broken.count += 1
    whole = sum(type(row) is dict for row in rows)
    flat = text.count("{") == whole
    if flat and whole == len(rows):
        yield from rows
        return
    for row in rows:
        if isinstance(row, dict):
            yield row if flat or dict not in map(type, row.values()) else opened(row)
        else:
            broken.count += 1


def opened(row: dict[str, object]) -> dict[str, object]:
    """A row with the mappings in it laid open, to a depth of three."""
    flat: dict[str, object] = {}
    waiting: list[tuple[str, object, int]] = [(str(k), v, 0) for k, v in row.items()]
    for name, cell, depth in waiting:
        if isinstance(cell, dict) and depth < 3 and len(waiting) < 10000:
            waiting += [(f"{name}/{k}", v, depth + 1) for k, v in cell.items()]
        elif not isinstance(cell, dict):
            flat[name] = cell
    return flat


FORMAT = Format("jsonl", "a JSON object a line, any names", recognises, read, sure=False)
