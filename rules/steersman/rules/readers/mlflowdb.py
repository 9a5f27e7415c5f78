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
    "key = 'mlflow.runName'), run_uuid) FROM runs WHERE lifecycle_stage = 'active' ORDER BY start_time DESC, run_uuid"
)
_METRICS = "SELECT key, value, timestamp, step, is_nan FROM metrics WHERE run_uuid = ? ORDER BY timestamp, step"
_PARAMS = "SELECT key, value FROM params WHERE run_uuid = ?"


def tables(path: Path) -> set[str]:
    """Names of the tables of a database; none where it cannot be looked into."""
    import sqlite3

    try:
        with closing(_opened(path)) as opened:
            return {str(name) for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (sqlite3.Error, ValueError):
        return set()


def is_database(path: Path) -> bool:
    """Whether a database is one of MLflow's."""
    return tables(path) >= _TABLES


def read(path: Path) -> list[Log]:
    """Read the runs that were not deleted and have a metric, oldest first."""
    import sqlite3

    try:
        with closing(_opened(path)) as opened:
            found = opened.execute(_RUNS).fetchall()
            logs = [_run(opened, *run) for run in reversed(found[:MAX_RUNS])]
    except (sqlite3.Error, ValueError) as error:
        raise ReadError(f"MLflow's database cannot be read: {error}") from None
    runs = [log for log in logs if log is not None]
    if not runs:
        raise ReadError("MLflow's database, and no run in it has a metric")
    if len(found) > MAX_RUNS:
        note = f"the newest {MAX_RUNS:,} of {len(found):,} runs are read"
        runs[0] = Log(runs[0].name, runs[0].table, runs[0].facts, (note,))
    return runs


def _opened(path: Path) -> Any:
    import sqlite3

    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _run(opened: Any, run: str, name: str) -> Log | None:
    points = Points()
    metrics: Iterable[tuple[str, float, int, int, int]] = opened.execute(_METRICS, (run,))
    for key, value, time, step, is_nan in metrics:
        points.add(key, step, _value(value, is_nan), time / 1000.0)
    if not points.count:
        return None
    return Log(name[:120], points.table(by_time=True), facts_of(dict(opened.execute(_PARAMS, (run,)))))


def _value(stored: float, is_nan: int) -> float:
    # An infinite value is stored as the largest that a double can have.
    if is_nan:
        return math.nan
    return math.copysign(math.inf, stored) if abs(stored) >= sys.float_info.max else stored
