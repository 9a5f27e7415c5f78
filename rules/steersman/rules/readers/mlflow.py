"""MLflow's file store: a folder a run, a file a metric. Its database is read by `mlflowdb`."""

from __future__ import annotations

import re
from pathlib import Path

from steersman.rules.readers import mlflowdb
from steersman.rules.readers.hints import facts_of
from steersman.rules.readers.lines import text_blocks
from steersman.rules.readers.points import Points
from steersman.rules.readers.reading import Format, Log, ReadError

_NAME = re.compile(r"^run_name:\s*['\"]?(.*?)['\"]?\s*$", re.MULTILINE)
MAX_FILES = 4096


def is_run(folder: Path) -> bool:
    """Whether a folder is a run of a file store."""
    return (folder / "metrics").is_dir() and (folder / "meta.yaml").is_file()


def recognises(path: Path, head: bytes) -> bool:
    """Whether it is such a folder, or a database of MLflow's."""
    if path.is_dir():
        return is_run(path)
    return head.startswith(mlflowdb.MARK) and mlflowdb.is_database(path)


def read(path: Path) -> list[Log]:
    """Read a run: its metrics by the time of logging, its parameters for what they say of the job."""
    if not path.is_dir():
        return mlflowdb.read(path)
    points = Points()
    broken = 0
    metrics = path / "metrics"
    files = sorted(file for file in metrics.rglob("*") if file.is_file())[:MAX_FILES]
    for file in files:
        # A metric named `train/loss` is a file `loss` in a folder `train`.
        broken += _metric(file, file.relative_to(metrics).as_posix(), points)
    if not points.count:
        raise ReadError("it has no metric")
    settings = {}
    for param in sorted((path / "params").rglob("*"))[:MAX_FILES] if (path / "params").is_dir() else ():
        if param.is_file() and param.stat().st_size < 4096:
            settings[param.relative_to(path / "params").as_posix()] = param.read_text("utf-8", "replace")
    meta = (path / "meta.yaml").read_text("utf-8", "replace")[:65536] if (path / "meta.yaml").is_file() else ""
    found = _NAME.search(meta)
    notes = (f"{broken} lines are no points: left out",) if broken else ()
    return [Log(found[1][:120] if found else "", points.table(by_time=True), facts_of(settings), notes)]


def _metric(file: Path, name: str, points: Points) -> int:
    broken = row = 0
    for block in text_blocks(file):
        for line in block.splitlines():
            words = line.split(None, 3)
            try:
                # Milliseconds, value and step; what was written before there were steps has rows.
                time, value = float(words[0]) / 1000.0, float(words[1])
                points.add(name, int(float(words[2])) if len(words) > 2 else row, value, time)
            except (ValueError, IndexError, OverflowError):
                broken += bool(words)
            row += 1
    return broken


FORMAT = Format("mlflow", "a run of MLflow's file store, mlruns/EXPERIMENT/RUN, or its mlflow.db", recognises, read)
