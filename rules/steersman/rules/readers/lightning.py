"""Lightning's CSVLogger: `metrics.csv`, in which each kind of number has rows of its own."""

from __future__ import annotations

from pathlib import Path

from steersman.rules.readers import delimited
from steersman.rules.readers.reading import Format


def recognises(path: Path, head: bytes) -> bool:
    """Whether it has this logger's file name and its two columns."""
    names = head.split(b"\n", 1)[0].strip().split(b",")
    return path.name == "metrics.csv" and b"step" in names and b"epoch" in names


FORMAT = Format("lightning", "Lightning's metrics.csv", recognises, delimited.read)
