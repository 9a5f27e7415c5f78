"""What text logs have in common: lines in which some numbers are found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from steersman.rules.readers.lines import MAX_ROWS, decode, text_blocks
from steersman.rules.readers.reading import ReadError
from steersman.rules.readers.table import Table, TableBuilder

NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf(?:inity)?)"
"""A number as programs print it, for a pattern that ignores case."""

ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""What colours a terminal."""

_ROWS = 8192
_LONGEST = 4000

Row = dict[str, object]


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a text, without colours; one that is too long for a row of a log is passed over."""
    for block in text_blocks(path):
        plain = ANSI.sub("", block) if "\x1b" in block else block
        for line in plain.split("\n"):
            if line and len(line) <= _LONGEST:
                yield line


def table_of(rows: Iterator[Row], nothing: str) -> Table:
    """A table of the rows that a reader finds.

    Raises:
        ReadError: there is none (`nothing` says so), or more than fit.
    """
    builder = TableBuilder()
    while chunk := list(islice(rows, _ROWS)):
        builder.add(chunk)
        if builder.rows > MAX_ROWS:
            raise ReadError(f"it has more than the {MAX_ROWS:,} rows that are read")
    if not builder.rows:
        raise ReadError(nothing)
    return builder.table()


def has_line(pattern: re.Pattern[str]) -> Callable[[Path, bytes], bool]:
    """Recognises a text log by a line that its first bytes have."""

    def recognises(path: Path, head: bytes) -> bool:
        del path
        return b"\0" not in head[:4096] and pattern.search(ANSI.sub("", decode(head).replace("\r", "\n"))) is not None

    return recognises
