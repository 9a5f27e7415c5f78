"""Any text in which a line has names and numbers: `step 100 | loss: 0.53 | lr=1e-4`, `{'loss': 0.53, 'epoch': 0.1}`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from steersman.rules.readers.lines import decode
from steersman.rules.readers.names import is_some_loss, loss_set
from steersman.rules.readers.reading import Format, Log
from steersman.rules.readers.words import ANSI, NUMBER, Row, lines_of, table_of

_PAD = r"[ \t]{0,16}"
"""Blanks, as `%7.4f` puts before a number; a bound keeps a hostile line from costing much."""
_CELL = re.compile(
    r"""(?<![\w./-])["']?([A-Za-z_][\w./-]*(?:[ ](?:loss|norm|rate|step|scale|lr|epoch))?)["']?"""
    rf"""{_PAD}[:=]{_PAD}["']?({NUMBER})(?![\w])""",
    re.I,
)
_COUNTER = re.compile(
    r"\b(global[ _]step|steps?|iter(?:ation)?s?|epoch|batch|update)\b[ ]{0,16}[:=#]?[ ]{0,16}\[?[ ]{0,16}(\d{1,15})",
    re.I,
)
_LOSS = re.compile(rf"loss\w*[\"']?{_PAD}[:=]?{_PAD}[\"']?{NUMBER}", re.I)
_BARE = re.compile(rf"\b((?:[A-Za-z]\w*[ _])?loss)[ ]+({NUMBER})(?![\w])", re.I)
_BARE_RATE = re.compile(
    rf"(?:^|[\d,;|\])][ ]{{1,16}}|[\t])(lr|learning[ _]rate|grad(?:ient)?[ _]norm)[ ]{{1,16}}({NUMBER})(?![\w])", re.I
)
"""Behind a number or a mark, as in a list of names and numbers: not the `lr 2` of "reduced the lr 2 times"."""
_WRAPPED = re.compile(r"\b(?:tensor|(?:np|numpy)\.float\d{1,3})\(([^(),]{1,32})(?:,[^()]{0,80})?\)", re.I)
"""A number as torch and NumPy 2 print it: `tensor(1.99, device='cuda:0')`, `np.float64(1.99)`."""
_UP_TO_LOSS = re.compile(r".*?loss\w*[\"']?\s*[:=]", re.I)
_FEWEST = 3
_MANY = 20
"""One line left out to so many that were read is worth a note."""


def recognises(path: Path, head: bytes) -> bool:
    """Whether some lines have a loss, and few of the bytes are none of a text."""
    if b"\0" in head[:4096] or path.suffix in (".py", ".md", ".ipynb", ".json", ".html"):
        return False
    lines = ANSI.sub("", decode(head)).replace("\r", "\n").split("\n")[:20000]
    return sum("oss" in line and len(line) < 2000 and bool(_cells(line)) for line in lines) >= _FEWEST


def read(path: Path) -> list[Log]:
    """Read the lines that have a loss, and what else stands in them."""
    lines = _Lines()
    table = table_of(lines.rows(path), "no line of it has a loss in it")
    return [Log("", table, notes=lines.notes())]


class _Lines:
    """Parts the lines with a loss from those that only look as if they had one."""

    def __init__(self) -> None:
        self.read = 0
        self._shapes: set[str] = set()
        self._left: dict[str, int] = {}
        self._first: dict[str, str] = {}

    def rows(self, path: Path) -> Iterator[Row]:
        for line in lines_of(path):
            if "oss" not in line and "OSS" not in line:
                continue
            if row := _cells(line):
                self.read += 1
                if self.read <= 1000:
                    self._shapes.add(_shape(line))
                yield row
            elif (shape := _shape(line)) in self._left or (shape and len(self._left) < 256):
                self._left[shape] = self._left.get(shape, 0) + 1
                self._first.setdefault(shape, line)

    def notes(self) -> tuple[str, ...]:
        """What is to be said of lines that look like those that were read, and were not."""
        alike = [shape for shape in self._left if shape in self._shapes]
        count = sum(self._left[shape] for shape in alike)
        if count < _FEWEST or count * _MANY < self.read:
            return ()
        return (
            f"{count:,} lines look like the {self.read:,} that were read but have no number after the loss: left out, "
            f"the first is {self._first[alike[0]].strip()[:80]!r}",
        )


def _shape(line: str) -> str:
    """A line up to its loss without numbers and blanks; empty where no loss with a sign after it is in it."""
    found = _UP_TO_LOSS.match(line)
    return re.sub(r"[\d\s.+-]+", "", found[0])[:120] if found else ""


def _cells(line: str) -> Row:
    if "(" in line:
        line = _WRAPPED.sub(r"\1", line)
    if _LOSS.search(line) is None:
        return {}
    row: Row = {}
    for name, value in _COUNTER.findall(line):
        row.setdefault(name.lower().replace(" ", "_"), float(value))
    for name, value in (*_BARE_RATE.findall(line), *_BARE.findall(line)):
        row[name] = float(value)
    for name, value in _CELL.findall(line):
        row[name] = float(value)
    return row if any(is_some_loss(name) or loss_set(name) is not None for name in row) else {}


FORMAT = Format("text", "any text whose lines have names and numbers", recognises, read, sure=False)
