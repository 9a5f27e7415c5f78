"""MLflow's database, where it is SQLite's: all runs in one file."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from steersman.rules.readers.hints import facts_of
from steersman.rules.readers.points import Points
from steersman.rules.readers.reading import Log, ReadError

MARK = b"SQLite format 3\0"
"""With what each file of SQLite begins."""
MAX_RUNS = 1000
"""Runs at most, the newest."""
_TABLES = {"runs", "metrics", "params"}
_RUNS = (
    "SELECT run_uuid, coalesce(nullif(name, ''), (SELECT value FROM tags WHERE tags.run_uuid = runs.run_uuid AND "
    "key = 'mlflow.runName'), run_uuid) FROM runs WHERE lifecycle_stage = 'active' AND "
    "EXISTS (SELECT 1 FROM metrics WHERE metrics.run_uuid = runs.run_uuid) ORDER BY start_time DESC, run_uuid"
)
_METRICS = "SELECT key, value, timestamp, step, is_nan FROM metrics WHERE run_uuid = ? ORDER BY timestamp, step"
_PARAMS = "SELECT key, value FROM params WHERE run_uuid = ?"
_PATIENCE_S = 1.0
"""How long a database may be locked by who writes it."""


def look(path: Path) -> tuple[frozenset[str], str]:
    """Names of the tables of a database, and why it cannot be looked into, which is empty where it can."""
    import sqlite3

    try:
        with closing(_opened(path)) as opened:
            found = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    except (sqlite3.Error, ValueError) as error:
        return frozenset(), str(error) or "it is damaged"
    return frozenset(str(name) for (name,) in found), ""


def is_database(path: Path) -> bool:
    """Whether a database is one of MLflow's."""
    return look(path)[0] >= _TABLES


def read(path: Path) -> list[Log]:
    """Read the runs that were not deleted and have a metric, oldest first."""
    import sqlite3

    path.stat()  # there is such a file
    try:
        with closing(_opened(path)) as opened:
            found = opened.execute(_RUNS).fetchall()
            note = f"the newest {MAX_RUNS:,} of {len(found):,} runs are read" if len(found) > MAX_RUNS else ""
            newest = reversed(found[:MAX_RUNS])
            logs = [log for run, name in newest if (log := _run(opened, run, name, note)) is not None]
    except (sqlite3.Error, ValueError) as error:
        raise ReadError(f"MLflow's database cannot be read: {error}") from None
    if not logs:
        raise ReadError("MLflow's database, and no run in it has a metric")
    return logs


def _opened(path: Path) -> Any:
    import sqlite3

    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE_S)


def _run(opened: Any, run: str, name: Any, note: str) -> Log | None:
    points = Points()
    broken = 0
    metrics: Iterable[tuple[Any, Any, Any, Any, Any]] = opened.execute(_METRICS, (run,))
    for key, value, time, step, is_nan in metrics:
        try:
            points.add(str(key), int(step), _value(float(value), is_nan), float(time) / 1000.0)
        except (TypeError, ValueError, OverflowError):
            broken += 1
    if not points.count:
        return None
    settings = {str(key): value for key, value in opened.execute(_PARAMS, (run,)) if isinstance(value, str)}
    notes = [note] if note else []
    if broken:
        notes.append(f"{broken} values are no points: left out")
    return Log(str(name)[:120], points.table(by_time=True), facts_of(settings), tuple(notes))


def _value(stored: float, is_nan: Any) -> float:
    # An infinite value is stored as the largest that a double can have.
    if is_nan:
        return math.nan
    return math.copysign(math.inf, stored) if abs(stored) >= sys.float_info.max else stored
