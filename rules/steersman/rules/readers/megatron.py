"""Megatron-LM and its kin (Megatron-DeepSpeed, GPT-NeoX): the lines that training prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from steersman.rules.facts import JobFacts
from steersman.rules.readers.reading import Format, Log
from steersman.rules.readers.words import Row, has_line, lines_of, table_of

_STEP = re.compile(r"\biteration\s+(\d+)\s*/\s*(\d+)\s*\|")
_EVALUATION = re.compile(r"\b(validation|valid|test) (?:loss|results) at (?:iteration|the end of training)\s*(\d*)")

_UNWANTED = re.compile(r"(?i)consumed|elapsed|\(ms\)|batch size|tokens|flop|throughput|memory|samples per")
_CELL = re.compile(r"([^|:\s][^|:]{0,80}?)\s*:\s*([^|\s]+)")


def read(path: Path) -> list[Log]:
    """Read the iterations, and the evaluations between them."""
    table = table_of(_rows(path), "no line of it is an iteration of Megatron")
    return [Log("", table, JobFacts())]


def _rows(path: Path) -> Iterator[Row]:
    step = 0
    layout = _Layout("")
    for line in lines_of(path):
        found = _STEP.search(line) if "iteration" in line else None
        if found is not None:
            step = int(found[1][:18])
            cells = layout.cells(line, found.end() - 1)
            if cells is None:
                # The same line comes a million times: a pattern made for it reads it much faster than parting it would.
                layout = _Layout(line[found.end() :])
                cells = layout.cells(line, found.end() - 1) or {}
            yield {"iteration": float(step), "train_iters": float(found[2][:18]), **cells}
        elif (evaluation := _EVALUATION.search(line)) is not None:
            step = int(evaluation[2][:18] or step)
            kind = "test" if evaluation[1] == "test" else "validation"
            several = dict(_CELL.findall(line[evaluation.end() :]))
            losses = {f"{kind} {name.replace(' value', '')}": v for name, v in several.items() if "loss" in name}
            if losses:
                yield {"iteration": float(step), **losses}


class _Layout:
    """Which cells a line has: `name: value |` …; a value may have its unit behind it."""

    def __init__(self, cells: str) -> None:
        names = [name for name, _ in _CELL.findall(cells)][:64]
        self.names = [name for name in names if not _UNWANTED.search(name)]
        parts = [
            rf"\|\s*{re.escape(name)}\s*:\s*" + (r"([^|\s]+)[^|]*" if name in self.names else "[^|]*") for name in names
        ]
        self.pattern = re.compile("".join(parts)) if self.names else None

    def cells(self, line: str, start: int) -> dict[str, str] | None:
        """The cells of a line from `start` on; None where it has others."""
        found = self.pattern.match(line, start) if self.pattern is not None else None
        return None if found is None else dict(zip(self.names, found.groups(), strict=True))


FORMAT = Format("megatron", "what Megatron-LM and its kin print", has_line(_STEP), read)
