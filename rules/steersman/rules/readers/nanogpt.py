"""nanoGPT: what it prints while it trains."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from steersman.rules.readers.reading import Format, Log
from steersman.rules.readers.words import NUMBER, Row, has_line, lines_of, table_of

_STEP = re.compile(
    rf"^\s*iter (\d+): loss ({NUMBER})|^\s*step (\d+): train loss ({NUMBER}), val loss ({NUMBER})", re.MULTILINE | re.I
)


def read(path: Path) -> list[Log]:
    """Read the losses of single batches, and the estimates of both losses at each evaluation."""
    return [Log("", table_of(_rows(path), "no line of it is an iteration of nanoGPT"))]


def _rows(path: Path) -> Iterator[Row]:
    for line in lines_of(path):
        found = _STEP.match(line)
        if found is None:
            continue
        if found[1]:
            yield {"iter": float(found[1]), "loss": float(found[2])}
        else:
            yield {"iter": float(found[3]), "train loss": float(found[4]), "val loss": float(found[5])}


FORMAT = Format("nanogpt", "what nanoGPT prints", has_line(_STEP), read)
