"""What `steersman series JOB NAME --json` prints: a series a line, those of one job together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np

from steersman.rules.readers.lines import decode
from steersman.rules.readers.naming import is_role
from steersman.rules.readers.reading import Format, Log, ReadError
from steersman.rules.readers.table import Table, from_points

MAX_BYTES = 1 << 30
"""Bytes of a file at most; it is read as a whole."""

Arrays = tuple[list[int], list[int], list[float], list[float]]


def recognises(path: Path, head: bytes) -> bool:
    """Whether its first object has this export's keys."""
    del path
    start = head.lstrip()[:2000]
    return start.startswith(b"{") and b'"job"' in start and b'"series"' in start and b'"ranks"' in start


def read(path: Path) -> list[Log]:
    """Read the series of each job in a file; of several ranks the first."""
    if path.stat().st_size > MAX_BYTES:
        raise ReadError(f"it has more than the {MAX_BYTES >> 20} MiB that are read at once")
    jobs: dict[str, dict[str, Arrays]] = {}
    for content in _objects(decode(path.read_bytes())):
        job, series, ranks = content.get("job"), content.get("series"), content.get("ranks")
        if isinstance(job, str) and isinstance(series, str) and isinstance(ranks, dict) and ranks:
            arrays = _arrays(ranks[min(ranks, key=lambda rank: (len(str(rank)), str(rank)))])
            if arrays is not None:
                jobs.setdefault(job, {})[series] = arrays
    if not jobs:
        raise ReadError("no series with points is in it")
    return [_log(job, _table(series)) for job, series in jobs.items()]


def _log(job: str, table: Table) -> Log:
    known = {name: name for name in table.columns if is_role(name)} | {"step": "step", "time": "wall_time"}
    return Log(job, table, known=known, exact=True)


def _objects(text: str) -> Iterator[dict[str, object]]:
    decoder = json.JSONDecoder()
    at = 0
    while at < len(text):
        while at < len(text) and text[at] in " \r\n\t,[]":
            at += 1
        try:
            found, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        if isinstance(found, dict):
            yield found


def _arrays(rank: object) -> Arrays | None:
    if not isinstance(rank, dict):
        return None
    steps, times, values = (rank.get(name) for name in ("steps", "times", "values"))
    if not isinstance(steps, list) or not isinstance(values, list) or len(steps) != len(values):
        return None
    clock = times if isinstance(times, list) and len(times) == len(steps) else list(repeat(0.0, len(steps)))
    try:
        whole = np.asarray(steps, dtype=np.int64).tolist()
        # JSON has no NaN: `null` is a value that was not finite.
        numbers = [float("nan") if value is None else float(value) for value in values]
        seconds = [float(time or 0.0) for time in clock]
    except (TypeError, ValueError, OverflowError):
        return None
    return list(range(len(whole))), whole, numbers, seconds


def _table(series: dict[str, Arrays]) -> Table:
    """Series of one job are written apart: the steps put them together."""
    every = sorted({step for _, steps, _, _ in series.values() for step in steps})
    if any(steps != sorted(steps) for _, steps, _, _ in series.values()):
        return from_points(series)
    row = {step: k for k, step in enumerate(every)}
    return from_points(
        {
            name: ([row[step] for step in steps], steps, values, times)
            for name, (_, steps, values, times) in series.items()
        }
    )


FORMAT = Format("series", "what `steersman series JOB NAME --json` prints", recognises, read)
