"""modded-nanogpt: `step:100/1390 train_loss:3.2 train_time:…`, after the program's own source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from steersman.rules.readers.reading import Format, Log
from steersman.rules.readers.words import NUMBER, Row, has_line, lines_of, table_of

_STEP = re.compile(r"^\s*step:(\d+)/(\d+) (?=(?:train|val)_loss:)", re.MULTILINE)
_CELL = re.compile(rf"\b(train_loss|val_loss|lr|grad_norm):({NUMBER})", re.I)


def read(path: Path) -> list[Log]:
    """Read the steps; the source that stands before them is passed over."""
    return [Log("", table_of(_rows(path), "no line of it is a step of modded-nanogpt"))]


def recognises(path: Path, head: bytes) -> bool:
    """Whether such a line is in its beginning, or in its end: the source before the first may be long."""
    if has_line(_STEP)(path, head):
        return True
    if path.suffix != ".txt" or not head.lstrip().startswith((b"import", b"from", b'"""', b"#")):
        return False
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(head)))
        return has_line(_STEP)(path, file.read(len(head)))


def _rows(path: Path) -> Iterator[Row]:
    for line in lines_of(path):
        found = _STEP.match(line)
        if found is not None:
            row: Row = {"step": float(found[1]), "total_steps": float(found[2])}
            for name, value in _CELL.findall(line):
                row[name] = float(value)
            yield row


FORMAT = Format("modded-nanogpt", "the log of modded-nanogpt", recognises, read)
