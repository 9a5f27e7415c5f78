"""Megatron-LM and its kin (Megatron-DeepSpeed, GPT-NeoX): the lines that training prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from steersman.rules.facts import JobFacts
from steersman.rules.readers.reading import Format, Log
from steersman.rules.readers.table import as_number
from steersman.rules.readers.words import Row, has_line, lines_of, table_of

_STEP = re.compile(r"\biteration\s+(\d+)\s*/\s*(\d+)\s*\|")
_EVALUATION = re.compile(r"\b(validation|valid|test) (?:loss|results) at (?:iteration|the end of training)\s*(\d*)")


def read(path: Path) -> list[Log]:
    """Read the iterations, and the evaluations between them."""
    table = table_of(_rows(path), "no line of it is an iteration of Megatron")
    return [Log("", table, JobFacts())]


def _rows(path: Path) -> Iterator[Row]:
    step = 0
    for line in lines_of(path):
        found = _STEP.search(line)
        if found is not None:
            step = int(found[1][:18])
            row: Row = {"iteration": float(step), "train_iters": float(found[2][:18])}
            row.update(_cells(line[found.end() :]))
            yield row
        elif (evaluation := _EVALUATION.search(line)) is not None:
            step = int(evaluation[2][:18] or step)
            kind = "test" if evaluation[1] == "test" else "validation"
            cells = {f"{kind} {name}": value for name, value in _cells(line[evaluation.end() :]).items()}
            cells = {name.replace(" value", ""): value for name, value in cells.items() if "loss" in name}
            if cells:
                yield {"iteration": float(step), **cells}


def _cells(line: str) -> Row:
    """`name: value |` …; a value may have its unit behind it."""
    row: Row = {}
    for part in line.split("|"):
        name, colon, value = part.rpartition(":")
        words = value.split()
        if colon and words and (number := as_number(words[0])) is not None:
            row[name.strip()[:80]] = number
    return row


FORMAT = Format("megatron", "what Megatron-LM and its kin print", has_line(_STEP), read)
