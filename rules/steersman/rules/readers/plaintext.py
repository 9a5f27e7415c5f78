"""Any text in which a line has names and numbers: `step 100 | loss: 0.53 | lr=1e-4`, `{'loss': 0.53, 'epoch': 0.1}`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from steersman.rules.readers.lines import decode
from steersman.rules.readers.names import is_some_loss, loss_set
from steersman.rules.readers.reading import Format, Log
from steersman.rules.readers.words import NUMBER, Row, lines_of, table_of

_CELL = re.compile(
    r"""["']?([A-Za-z_][\w./-]*(?:[ ](?:loss|norm|rate|step|scale|lr|epoch))?)["']?[ ]?[:=][ ]?["']?"""
    rf"({NUMBER})(?![\w])",
    re.I,
)
_COUNTER = re.compile(
    r"\b(global[ _]step|steps?|iter(?:ation)?s?|epoch|batch|update)\b[ ]*[:=#]?[ ]*\[?[ ]*(\d{1,15})", re.I
)
_LOSS = re.compile(rf"loss\w*[\"']?[ ]?[:=]?[ ]?[\"']?{NUMBER}", re.I)
_BARE = re.compile(rf"\b((?:[A-Za-z]\w*[ _])?loss)[ ]+({NUMBER})(?![\w])", re.I)
_FEWEST = 3


def recognises(path: Path, head: bytes) -> bool:
    """Whether some lines have a loss, and few of the bytes are none of a text."""
    if b"\0" in head[:4096] or path.suffix in (".py", ".md", ".ipynb", ".json", ".html"):
        return False
    lines = decode(head).replace("\r", "\n").split("\n")[:20000]
    return sum("oss" in line and len(line) < 2000 and bool(_cells(line)) for line in lines) >= _FEWEST


def read(path: Path) -> list[Log]:
    """Read the lines that have a loss, and what else stands in them."""
    return [Log("", table_of(_rows(path), "no line of it has a loss in it"))]


def _rows(path: Path) -> Iterator[Row]:
    for line in lines_of(path):
        if ("oss" in line or "OSS" in line) and (row := _cells(line)):
            yield row


def _cells(line: str) -> Row:
    if _LOSS.search(line) is None:
        return {}
    row: Row = {}
    for name, value in _COUNTER.findall(line):
        row.setdefault(name.lower().replace(" ", "_"), float(value))
    for name, value in _BARE.findall(line):
        row[name] = float(value)
    for name, value in _CELL.findall(line):
        row[name] = float(value)
    return row if any(is_some_loss(name) or loss_set(name) is not None for name in row) else {}


FORMAT = Format("text", "any text whose lines have names and numbers", recognises, read, sure=False)
