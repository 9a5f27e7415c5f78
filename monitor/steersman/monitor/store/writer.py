"""How a unit becomes rows of tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from steersman.monitor.store import tables
from steersman.monitor.store.admit import admit
from steersman.monitor.store.codec import Piece, checksum, encode_axis, encode_column, encode_pieces
from steersman.monitor.store.contract import EventRecord, JobRecord, RowsWrite, Unit
from steersman.monitor.store.reader import journal_entries, series_names
from steersman.monitor.store.rows import clean, joined
from steersman.monitor.store.tail import JournalEntry, Tail
from steersman.rules.samples import Column, Samples

CHUNK_ROWS = 1024
"""Rows in a sealed chunk; below that the pages of SQLite are half empty."""

SEALS_PER_UNIT = 8
"""Ranks in step fill their chunks in the same second: so many are sealed at once, the others with the next units."""


@dataclass
class _Attempt:
    key: int
    numbers: dict[str, int] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    tails: dict[int, Tail] = field(default_factory=dict)


class Writer:
    """Remembers what every open attempt has in no chunk yet, so that sealing reads nothing back.

    What it remembers is true only as long as every unit is committed: after one that was not, call `forget`.
    """

    def __init__(self) -> None:
        self._attempts: dict[str, _Attempt] = {}
        self._keys: dict[str, int] = {}

    def forget(self) -> None:
        """Read everything again from the database when it is needed next."""
        self._attempts.clear()
        self._keys.clear()

    def write(self, connection: sa.Connection, unit: Unit) -> None:
        """Write one unit inside the caller's transaction.

        Raises:
            StoreError: it does not follow what is stored.
        """
        admission = admit(
            unit,
            lambda attempt_id, rank: self._tail(connection, attempt_id, rank).high_water,
            lambda attempt_id: self._key(connection, attempt_id) is not None,
            lambda job: _last_ledger_seq(connection, job),
        )
        for job in unit.jobs:
            _put_job(connection, job)
        by_attempt: dict[str, list[RowsWrite]] = {}
        for rows in admission.rows:
            by_attempt.setdefault(rows.attempt_id, []).append(rows)
        ending = {job.attempt_id for job in unit.jobs if job.ended_at is not None}
        for attempt_id in [*by_attempt, *(ending - by_attempt.keys())]:
            self._append(connection, attempt_id, by_attempt.get(attempt_id, []), attempt_id in ending)
        self._put_beside(connection, unit)
        self._put_events(connection, unit.events)
        if unit.ledger:
            connection.execute(sa.insert(tables.ledger), [vars(record) for record in unit.ledger])
        for attempt_id in ending:
            self._attempts.pop(attempt_id, None)

    def _key(self, connection: sa.Connection, attempt_id: str) -> int | None:
        if attempt_id not in self._keys:
            query = sa.select(tables.attempt.c.key).where(tables.attempt.c.attempt_id == attempt_id)
            key = connection.execute(query).scalar()
            if key is None:
                return None
            self._keys[attempt_id] = key
        return self._keys[attempt_id]

    def _sure_key(self, connection: sa.Connection, attempt_id: str) -> int:
        key = self._key(connection, attempt_id)
        assert key is not None, "admitted, so it is there"
        return key

    def _tail(self, connection: sa.Connection, attempt_id: str, rank: int) -> Tail:
        attempt = self._attempts.get(attempt_id)
        if attempt is None:
            key = self._key(connection, attempt_id)
            if key is None:
                return Tail()
            attempt = self._attempts[attempt_id] = _load(connection, key)
        return attempt.tails.get(rank, Tail())

    def _append(self, connection: sa.Connection, attempt_id: str, writes: Sequence[RowsWrite], ending: bool) -> None:
        attempt = self._attempts.get(attempt_id)
        if attempt is None:
            attempt = _load(connection, self._sure_key(connection, attempt_id))
            self._attempts[attempt_id] = attempt
        pieces = [(rows, _present_only(rows.samples)) for rows in writes]
        _count_points(connection, attempt, [samples for _, samples in pieces])
        for rows, samples in pieces:
            tail = attempt.tails.setdefault(rows.rank, Tail())
            tail.high_water = rows.first_seq + len(samples) - 1
            tail.lost += rows.skipped
            if len(samples):
                tail.append(Piece(rows.rank, rows.first_seq, samples), None)
        touched = {rows.rank for rows in writes} | _seal(connection, attempt, ending)
        _keep_journal(connection, attempt)
        _put_ranks(connection, attempt, touched)

    def _put_beside(self, connection: sa.Connection, unit: Unit) -> None:
        for attempt_id, data in unit.snapshots.items():
            key = self._sure_key(connection, attempt_id)
            row = {"attempt_key": key, "crc": checksum(data), "data": data}
            _upsert(connection, tables.snapshot, [row], ["attempt_key"])
        for attempt_id, body in unit.findings.items():
            key = self._sure_key(connection, attempt_id)
            _upsert(connection, tables.findings, [{"attempt_key": key, "body": body}], ["attempt_key"])
        for identity, (attempt_id, body) in unit.adjustments.items():
            key = self._sure_key(connection, attempt_id)
            _upsert(connection, tables.adjustment, [{"id": identity, "attempt_key": key, "body": body}], ["id"])

    def _put_events(self, connection: sa.Connection, events: Sequence[EventRecord]) -> None:
        rows = [
            {
                "attempt_key": self._sure_key(connection, event.attempt_id),
                "rank": event.rank,
                "event_seq": event.event_seq,
                "time": event.time,
                "step": event.step,
                "kind": clean(event.kind),
                "message": clean(event.message),
                "count": event.count,
            }
            for event in events
        ]
        if rows:
            connection.execute(_insert(connection, tables.event).on_conflict_do_nothing(), rows)


def _put_job(connection: sa.Connection, job: JobRecord) -> None:
    row = {
        "attempt_id": job.attempt_id,
        "name": clean(job.name),
        "attempt": job.attempt,
        "facts": json.dumps(dict(job.facts)),
        "state": json.dumps(dict(job.state)),
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }
    _upsert(connection, tables.attempt, [row], ["attempt_id"])


def _last_ledger_seq(connection: sa.Connection, job: str) -> int:
    query = sa.select(sa.func.max(tables.ledger.c.seq)).where(tables.ledger.c.job == job)
    return connection.execute(query).scalar() or 0


def _load(connection: sa.Connection, key: int) -> _Attempt:
    attempt = _Attempt(key)
    for number, (name, unit) in series_names(connection, key).items():
        attempt.numbers[name], attempt.units[name] = number, unit
    found = connection.execute(sa.select(tables.rank).where(tables.rank.c.attempt_key == key))
    for row in found:
        attempt.tails[row.rank] = Tail(row.high_water, row.sealed, row.lost, row.chunks)
    for entry_key, pieces in journal_entries(connection, key):
        entry = JournalEntry(entry_key)
        for piece in pieces:
            attempt.tails[piece.rank].append(piece, entry)
    return attempt


def _present_only(samples: Samples) -> Samples:
    kept = {name: column for name, column in samples.columns.items() if np.count_nonzero(column.present)}
    return Samples(samples.steps, samples.times, kept)


def _count_points(connection: sa.Connection, attempt: _Attempt, written: Iterable[Samples]) -> None:
    counts: dict[str, int] = {}
    for samples in written:
        for name, column in samples.columns.items():
            counts[name] = counts.get(name, 0) + int(np.count_nonzero(column.present))
            attempt.units.setdefault(name, column.unit)
    new = [name for name in counts if name not in attempt.numbers]
    for name in new:
        attempt.numbers[name] = len(attempt.numbers) + 1
    if new:
        rows = [
            {
                "attempt_key": attempt.key,
                "number": attempt.numbers[name],
                "name": name,
                "unit": attempt.units[name],
                "points": 0,
            }
            for name in new
        ]
        connection.execute(sa.insert(tables.series), rows)
    if counts:
        table = tables.series
        added = sa.update(table).where(
            table.c.attempt_key == attempt.key, table.c.number == sa.bindparam("series_number")
        )
        added = added.values(points=table.c.points + sa.bindparam("added"))
        connection.execute(added, [{"series_number": attempt.numbers[n], "added": c} for n, c in counts.items()])


def _seal(connection: sa.Connection, attempt: _Attempt, ending: bool) -> set[int]:
    rows: list[dict[str, Any]] = []
    freed: list[int] = []
    sealed: set[int] = set()
    longest = sorted(attempt.tails, key=lambda rank: attempt.tails[rank].rows, reverse=True)
    for rank in longest:
        tail = attempt.tails[rank]
        while tail.rows >= CHUNK_ROWS or (ending and tail.rows):
            if not ending and len(sealed) >= SEALS_PER_UNIT and tail.rows < 2 * CHUNK_ROWS:
                break
            number = tail.chunks
            samples, done = tail.take(CHUNK_ROWS)
            rows += _chunk_rows(attempt, rank, number, samples)
            freed += done
            sealed.add(rank)
    if rows:
        connection.execute(sa.insert(tables.chunk), rows)
    if freed:
        gone = sa.delete(tables.journal).where(tables.journal.c.key == sa.bindparam("freed"))
        connection.execute(gone, [{"freed": key} for key in freed])
    return sealed


def _chunk_rows(attempt: _Attempt, rank: int, number: int, samples: Samples) -> list[dict[str, Any]]:
    def row(series: int, data: bytes) -> dict[str, Any]:
        return {
            "attempt_key": attempt.key,
            "rank": rank,
            "series": series,
            "chunk": number,
            "rows": len(samples),
            "min_step": int(samples.steps.min()),
            "max_step": int(samples.steps.max()),
            "crc": checksum(data),
            "data": data,
        }

    made = [row(tables.AXIS, encode_axis(samples.steps, samples.times))]
    made += [row(attempt.numbers[name], encode_column(column)) for name, column in _present(samples)]
    return made


def _present(samples: Samples) -> list[tuple[str, Column]]:
    # A column may stand in a piece that was cut, with all that was present in the other half.
    return [(name, column) for name, column in samples.columns.items() if np.count_nonzero(column.present)]


def _keep_journal(connection: sa.Connection, attempt: _Attempt) -> None:
    fresh = [waiting for tail in attempt.tails.values() for waiting in tail.unwritten()]
    if not fresh:
        return
    whole = joined([waiting.piece.samples for waiting in fresh])
    data = encode_pieces([waiting.piece for waiting in fresh], whole, attempt.numbers)
    row = {
        "attempt_key": attempt.key,
        "rows": len(whole),
        "min_step": int(whole.steps.min()),
        "max_step": int(whole.steps.max()),
        "crc": checksum(data),
        "data": data,
    }
    made = connection.execute(sa.insert(tables.journal).values(row)).inserted_primary_key
    assert made is not None, "one row was inserted"
    entry = JournalEntry(made[0], len(fresh))
    for waiting in fresh:
        waiting.entry = entry


def _put_ranks(connection: sa.Connection, attempt: _Attempt, ranks: Iterable[int]) -> None:
    rows = [
        {
            "attempt_key": attempt.key,
            "rank": rank,
            "high_water": attempt.tails[rank].high_water,
            "sealed": attempt.tails[rank].sealed,
            "lost": attempt.tails[rank].lost,
            "chunks": attempt.tails[rank].chunks,
        }
        for rank in sorted(ranks)
    ]
    if rows:
        _upsert(connection, tables.rank, rows, ["attempt_key", "rank"])


def _insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], key: Sequence[str]) -> None:
    statement = _insert(connection, table)
    changed = {name: statement.excluded[name] for name in rows[0] if name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changed), list(rows))
