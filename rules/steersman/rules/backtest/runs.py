"""Finds recorded runs. The one place of the backtest that knows the readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from steersman.rules.readers import Wishes, read_runs
from steersman.rules.readers.search import Found, search
from steersman.rules.recording import Recording


def found(paths: Sequence[Path]) -> list[Found]:
    """The logs among these paths, and in the folders among them.

    Raises:
        OSError: a folder cannot be read.
    """
    return [f for p in paths for f in (search(p, Wishes()) if p.is_dir() else [Found(p, str(p))])]


def read(log: Found) -> list[Recording]:
    """The runs in a log.

    Raises:
        ReadError: it holds none that can be read.
    """
    return read_runs(log.path, log.source, Wishes(), log.form)
