"""A store that forgets."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from steersman.monitor.errors import StoreError
from steersman.monitor.store.admit import Admission, admit
from steersman.monitor.store.contract import (
    Damage,
    EventRecord,
    JobRecord,
    LedgerRecord,
    Restored,
    SeriesInfo,
    Unit,
)
from steersman.monitor.store.rows import clean, joined, points
from steersman.rules.samples import Samples


@dataclass
class _Rank:
    pieces: list[Samples] = field(default_factory=list)
    high_water: int = 0
    lost: int = 0


@dataclass
class _Attempt:
    job: JobRecord
    ordinal: int
    ranks: dict[int, _Rank] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    snapshot: bytes | None = None
    findings: str | None = None
    adjustments: dict[str, str] = field(default_factory=dict)
    events: dict[tuple[int, int], EventRecord] = field(default_factory=dict)


class MemoryStore:
    """Keeps everything in dicts, for tests and previews. The same contract as the others, but for the power cut."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._attempts: dict[str, _Attempt] = {}
        self._ledger: dict[str, list[LedgerRecord]] = {}
        self._closed = False

    def write(self, unit: Unit) -> None:
        """Take one unit, all of it or, when it is refused, nothing."""
        with self._lock:
            self._open()
            admission = admit(unit, self._high_water, self._known, self._last_seq)
            for job in unit.jobs:
                self._put_job(job)
            self._append(admission)
            for attempt_id, snapshot in unit.snapshots.items():
                self._attempts[attempt_id].snapshot = bytes(snapshot)
            for attempt_id, findings in unit.findings.items():
                self._attempts[attempt_id].findings = findings
            for identity, (attempt_id, body) in unit.adjustments.items():
                self._attempts[attempt_id].adjustments[identity] = body
            for event in unit.events:
                kept = replace(event, kind=clean(event.kind), message=clean(event.message))
                self._attempts[event.attempt_id].events.setdefault((event.rank, event.event_seq), kept)
            for record in unit.ledger:
                self._ledger.setdefault(record.job, []).append(record)

    def jobs(self, *, ended: bool) -> list[JobRecord]:
        """See `Store`."""
        with self._lock:
            self._open()
            found = [a for a in self._attempts.values() if ended or a.job.ended_at is None]
            found.sort(key=lambda a: (a.job.started_at, a.ordinal), reverse=True)
            return [a.job for a in found]

    def find(self, name: str, attempt: int = 0) -> JobRecord | None:
        """See `Store`."""
        with self._lock:
            self._open()
            found = [
                a for a in self._attempts.values() if a.job.name == name and (not attempt or a.job.attempt == attempt)
            ]
            return max(found, key=lambda a: (a.job.attempt, a.ordinal)).job if found else None

    def restore(self, attempt_id: str) -> Restored | None:
        """See `Store`."""
        with self._lock:
            self._open()
            attempt = self._attempts.get(attempt_id)
            if attempt is None:
                return None
            event_high_water: dict[int, int] = {}
            for rank, seq in attempt.events:
                event_high_water[rank] = max(seq, event_high_water.get(rank, seq))
            return Restored(
                attempt.job,
                {number: rank.high_water for number, rank in sorted(attempt.ranks.items())},
                attempt.snapshot,
                attempt.findings,
                dict(attempt.adjustments),
                event_high_water,
                {number: rank.lost for number, rank in sorted(attempt.ranks.items()) if rank.lost},
            )

    def list_series(self, attempt_id: str) -> list[SeriesInfo]:
        """See `Store`."""
        with self._lock:
            self._open()
            attempt = self._attempts.get(attempt_id)
            if attempt is None:
                return []
            counts = dict.fromkeys(sorted(attempt.units), 0)
            for rank in attempt.ranks.values():
                for piece in rank.pieces:
                    for name, column in piece.columns.items():
                        if name in counts:
                            counts[name] += int(column.present.sum())
            return [SeriesInfo(name, attempt.units[name], count) for name, count in counts.items()]

    def series(
        self, attempt_id: str, name: str, *, ranks: Sequence[int] = (), from_step: int = 0, to_step: int | None = None
    ) -> Mapping[int, Samples]:
        """See `Store`."""
        with self._lock:
            self._open()
            attempt = self._attempts.get(attempt_id)
            if attempt is None or name not in attempt.units:
                return {}
            unit = attempt.units[name]
            found = {
                number: points(joined(rank.pieces), name, unit, from_step, to_step)
                for number, rank in sorted(attempt.ranks.items())
                if not ranks or number in ranks
            }
            return {number: samples for number, samples in found.items() if len(samples)}

    def events(self, attempt_id: str, limit: int = 100) -> list[EventRecord]:
        """See `Store`."""
        with self._lock:
            self._open()
            attempt = self._attempts.get(attempt_id)
            if attempt is None or limit <= 0:
                return []
            found = sorted(attempt.events.values(), key=lambda e: (e.time, e.rank, e.event_seq))
            return found[-limit:]

    def ledger(self, job: str, attempt_id: str | None = None) -> list[LedgerRecord]:
        """See `Store`."""
        with self._lock:
            self._open()
            return [r for r in self._ledger.get(job, []) if attempt_id is None or r.attempt_id == attempt_id]

    def adjustments(self, job: str) -> Mapping[str, str]:
        """See `Store`."""
        with self._lock:
            self._open()
            return {i: body for a in self._attempts.values() if a.job.name == job for i, body in a.adjustments.items()}

    def damage(self, attempt_id: str) -> list[Damage]:
        """Nothing: memory has no CRC."""
        del attempt_id
        return []

    def check(self, attempt_id: str) -> None:
        """Finds nothing, as `damage`."""

    def close(self) -> None:
        """Refuse what comes after."""
        self._closed = True

    def _open(self) -> None:
        if self._closed:
            raise StoreError("the store in memory is closed: open another one")

    def _put_job(self, job: JobRecord) -> None:
        # Through JSON, so that a test with this store sees what a test with a file would: lists for tuples.
        kept = replace(
            job,
            name=clean(job.name),
            facts=json.loads(json.dumps(dict(job.facts))),
            state=json.loads(json.dumps(dict(job.state))),
        )
        known = self._attempts.get(job.attempt_id)
        if known is None:
            self._attempts[job.attempt_id] = _Attempt(kept, len(self._attempts))
        else:
            known.job = kept

    def _append(self, admission: Admission) -> None:
        for rows in admission.rows:
            attempt = self._attempts[rows.attempt_id]
            rank = attempt.ranks.setdefault(rows.rank, _Rank())
            rank.pieces.append(rows.samples)
            rank.high_water = rows.first_seq + len(rows.samples) - 1
            rank.lost += rows.skipped
            for name, column in rows.samples.columns.items():
                if name not in attempt.units and bool(column.present.any()):
                    attempt.units[name] = column.unit

    def _high_water(self, attempt_id: str, rank: int) -> int:
        attempt = self._attempts.get(attempt_id)
        known = attempt.ranks.get(rank) if attempt is not None else None
        return known.high_water if known is not None else 0

    def _known(self, attempt_id: str) -> bool:
        return attempt_id in self._attempts

    def _last_seq(self, job: str) -> int:
        entries = self._ledger.get(job)
        return entries[-1].seq if entries else 0
