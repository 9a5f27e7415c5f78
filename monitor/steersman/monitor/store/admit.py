"""Which units a store takes. The same for every store, and before anything is written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from steersman.monitor.errors import StoreError
from steersman.monitor.store.contract import RowsWrite, Unit
from steersman.monitor.store.rows import owned


@dataclass(frozen=True)
class Admission:
    """What of a unit's rows is to be written: copies that the caller cannot change, without those that say nothing."""

    rows: tuple[RowsWrite, ...]


def admit(
    unit: Unit,
    high_water: Callable[[str, int], int],
    known: Callable[[str], bool],
    last_ledger_seq: Callable[[str], int],
) -> Admission:
    """Check a unit against what is stored.

    Args:
        unit: what is to be written.
        high_water: the highest sequence number stored of (attempt, rank), 0 for none.
        known: whether an attempt is stored.
        last_ledger_seq: the last sequence number in a job's ledger, 0 for none.

    Raises:
        StoreError: it does not follow what is stored, or cannot be written as it is.
    """
    arriving = {job.attempt_id for job in unit.jobs}
    named = [rows.attempt_id for rows in unit.rows]
    named += [*unit.snapshots, *unit.findings, *(attempt for attempt, _ in unit.adjustments.values())]
    named += [event.attempt_id for event in unit.events]
    for attempt_id in dict.fromkeys(named):
        if attempt_id not in arriving and not known(attempt_id):
            raise StoreError(f"attempt {attempt_id} is not in the store: write its job record first, or with it")
    for job in unit.jobs:
        _finite(job.started_at, f"the start of job {job.name}")
        if job.ended_at is not None:
            _finite(job.ended_at, f"the end of job {job.name}")
        try:
            json.dumps([dict(job.facts), dict(job.state)])
        except (TypeError, ValueError) as error:
            raise StoreError(f"facts or state of job {job.name} are no JSON: {error}") from error
    for event in unit.events:
        _finite(event.time, f"the time of event {event.event_seq} of attempt {event.attempt_id}")
    _ledger_follows(unit, last_ledger_seq)
    return Admission(_rows_follow(unit, high_water))


def _finite(value: float, what: str) -> None:
    if not math.isfinite(value):
        raise StoreError(f"{what} is {value}, which is no time")


def _rows_follow(unit: Unit, high_water: Callable[[str, int], int]) -> tuple[RowsWrite, ...]:
    marks: dict[tuple[str, int], int] = {}
    taken: list[RowsWrite] = []
    for rows in unit.rows:
        key = (rows.attempt_id, rows.rank)
        what = f"attempt {rows.attempt_id} rank {rows.rank}"
        mark = marks[key] if key in marks else high_water(*key)
        expected = mark + 1 + rows.skipped
        if rows.skipped < 0 or rows.first_seq != expected:
            raise StoreError(
                f"rows of {what} start at {rows.first_seq}, but {mark} is the last one stored and {rows.skipped} are "
                f"skipped: write from {mark + 1}, or say how many are lost for good"
            )
        samples = owned(rows.samples, what)
        marks[key] = rows.first_seq + len(samples) - 1
        if len(samples) or rows.skipped:
            taken.append(replace(rows, samples=samples))
    return tuple(taken)


def _ledger_follows(unit: Unit, last_ledger_seq: Callable[[str], int]) -> None:
    last: dict[str, int] = {}
    for record in unit.ledger:
        before = last[record.job] if record.job in last else last_ledger_seq(record.job)
        if record.seq != before + 1:
            raise StoreError(
                f"ledger entry {record.seq} of job {record.job} does not follow entry {before}: "
                f"read the ledger again and append as {before + 1}"
            )
        last[record.job] = record.seq
