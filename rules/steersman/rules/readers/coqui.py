"""Coqui's Trainer (TTS, XTTS): `trainer_0_log.txt`, a block of lines a step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from steersman.rules.readers.reading import Format, Log
from steersman.rules.readers.words import NUMBER, Row, has_line, lines_of, table_of

_STEP = re.compile(r"--> (?:TIME: [^|]*? -- )?STEP: \d+/\d+ -- GLOBAL_STEP: (\d+)")
_END = re.compile(r"--> (EVAL PERFORMANCE|TRAIN PERFORMA\w+|STEP: \d+\s*$)|^\s*> (?:EPOCH|EVALUATION|TRAINING)\b")
_CELL = re.compile(rf"^\s*\| > (\w+): ?({NUMBER})", re.I)


def read(path: Path) -> list[Log]:
    """Read the steps, of each value that of the step and not the running mean behind it; and each evaluation."""
    return [Log("", table_of(_rows(path), "no line of it is a step of Coqui's Trainer"))]


def _rows(path: Path) -> Iterator[Row]:
    row: Row = {}
    step = 0.0
    before = ""
    taken = False
    for line in lines_of(path):
        cell = _CELL.match(line) if "| >" in line else None
        if cell is not None:
            if taken:
                name = cell[1].removeprefix("avg_") if before else cell[1]
                row[before + name] = float(cell[2])
            continue
        begins, ends = _STEP.search(line), _END.search(line)
        if begins is None and ends is None:
            continue
        if len(row) > 1:
            yield row
        row, taken = {}, False
        if begins is not None:
            step, before, taken = float(begins[1]), "", True
            row = {"global_step": step}
        elif ends is not None and ends[1] == "EVAL PERFORMANCE":
            before, taken = "eval/", True
            row = {"global_step": step}
    if len(row) > 1:
        yield row


FORMAT = Format("coqui", "the log of Coqui's Trainer", has_line(_STEP), read)
