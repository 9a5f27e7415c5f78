"""Finds recorded runs. The one place of the backtest that knows a reader."""

from __future__ import annotations

from pathlib import Path

from steersman.rules.readers import huggingface
from steersman.rules.recording import Recording


def read_runs(path: Path) -> list[Recording]:
    """The runs logged in a file.

    Raises:
        ReadError: it holds none that can be read.
        OSError: it cannot be opened.
    """
    return [huggingface.read(path)]


def files(paths: list[Path]) -> list[Path]:
    """The files among these paths and in the folders among them."""
    return [f for p in paths for f in (sorted(f for f in p.iterdir() if f.is_file()) if p.is_dir() else [p])]
