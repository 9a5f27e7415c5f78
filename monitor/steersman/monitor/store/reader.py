"""How rows of tables become what was written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa
import structlog

from steersman.monitor.store import tables
from steersman.monitor.store.codec import (
    DamagedError,
    Piece,
    checked,
    decode_axis,
    decode_column,
    decode_pieces,
)
from steersman.monitor.store.contract import Damage, EventRecord, JobRecord, LedgerRecord, Restored, SeriesInfo
from steersman.monitor.store.rows import joined, points
from steersman.rules.samples import Samples


def jobs(connection: sa.Connection, ended: bool) -> list[JobRecord]:
    """See `Store.jobs`."""
    table = tables.attempt
    query = sa.select(table).order_by(table.c.started_at.desc(), table.c.key.desc())
    if not ended:
        query = query.where(table.c.ended_at.is_(None))
    return [_job(row) for row in connection.execute(query)]


def find(connection: sa.Connection, name: str, attempt: int) -> JobRecord | None:
    """See `Store.find`."""
    table = tables.attempt
    query = sa.select(table).where(table.c.name == name).order_by(table.c.attempt.desc(), table.c.key.desc()).limit(1)
    if attempt:
        query = query.where(table.c.attempt == attempt)
    row = connection.execute(query).first()
    return _job(row) if row is not None else None


def restore(connection: sa.Connection, attempt_id: str) -> Restored | None:
    """See `Store.restore`."""
    row = _attempt(connection, attempt_id)
    if row is None:
        return None
    ranks = connection.execute(
        sa.select(tables.rank).where(tables.rank.c.attempt_key == row.key).order_by(tables.rank.c.rank)
    ).all()
    found = connection.execute(sa.select(tables.snapshot).where(tables.snapshot.c.attempt_key == row.key)).first()
    findings = connection.execute(
        sa.select(tables.findings.c.body).where(tables.findings.c.attempt_key == row.key)
    ).scalar()
    adjustments = connection.execute(
        sa.select(tables.adjustment.c.id, tables.adjustment.c.body)
        .where(tables.adjustment.c.attempt_key == row.key)
        .order_by(tables.adjustment.c.key)
    )
    events = connection.execute(
        sa.select(tables.event.c.rank, sa.func.max(tables.event.c.event_seq))
        .where(tables.event.c.attempt_key == row.key)
        .group_by(tables.event.c.rank)
    )
    return Restored(
        _job(row),
        {rank.rank: rank.high_water for rank in ranks},
        _snapshot(row, found),
        findings,
        {identity: body for identity, body in adjustments},
        {rank: seq for rank, seq in events},
        {rank.rank: rank.lost for rank in ranks if rank.lost},
    )


def list_series(connection: sa.Connection, attempt_id: str) -> list[SeriesInfo]:
    """See `Store.list_series`."""
    row = _attempt(connection, attempt_id)
    if row is None:
        return []
    found = connection.execute(sa.select(tables.series).where(tables.series.c.attempt_key == row.key))
    # Sorted here: a database sorts names as its locale sees fit.
    return sorted((SeriesInfo(one.name, one.unit, one.points) for one in found), key=lambda info: info.name)


def series(
    connection: sa.Connection,
    attempt_id: str,
    name: str,
    ranks: Sequence[int],
    from_step: int,
    to_step: int | None,
) -> dict[int, Samples]:
    """See `Store.series`."""
    attempt = _attempt(connection, attempt_id)
    if attempt is None:
        return {}
    names = series_names(connection, attempt.key)
    number = next((number for number, (known, _) in names.items() if known == name), None)
    if number is None:
        return {}
    unit = names[number][1]
    pieces: dict[int, list[Samples]] = {}
    for row in connection.execute(_chunks_of(attempt.key, number, ranks, from_step, to_step)):
        try:
            steps, times = decode_axis(checked(row.axis_data, row.axis_crc), row.rows)
            column = decode_column(checked(row.data, row.crc), row.rows, unit)
        except DamagedError as error:
            _log_damage(_chunk_damage(attempt, name, row, error))
            continue
        pieces.setdefault(row.rank, []).append(
            points(Samples(steps, times, {name: column}), name, unit, from_step, to_step)
        )
    for _, entry in journal_entries(connection, attempt.key, attempt):
        for piece in entry:
            if not ranks or piece.rank in ranks:
                pieces.setdefault(piece.rank, []).append(points(piece.samples, name, unit, from_step, to_step))
    read = {rank: joined(found) for rank, found in sorted(pieces.items())}
    return {rank: samples for rank, samples in read.items() if len(samples)}


def events(connection: sa.Connection, attempt_id: str, limit: int) -> list[EventRecord]:
    """See `Store.events`."""
    attempt = _attempt(connection, attempt_id)
    if attempt is None or limit <= 0:
        return []
    table = tables.event
    newest = sa.select(table).where(table.c.attempt_key == attempt.key).limit(limit)
    newest = newest.order_by(table.c.time.desc(), table.c.rank.desc(), table.c.event_seq.desc())
    rows = [dict(row) for row in connection.execute(newest).mappings()]
    for row in rows:
        del row["attempt_key"]
    return [EventRecord(attempt_id=attempt_id, **row) for row in reversed(rows)]


def ledger(connection: sa.Connection, job: str, attempt_id: str | None) -> list[LedgerRecord]:
    """See `Store.ledger`."""
    table = tables.ledger
    query = sa.select(table).where(table.c.job == job).order_by(table.c.seq)
    if attempt_id is not None:
        query = query.where(table.c.attempt_id == attempt_id)
    return [LedgerRecord(**row) for row in connection.execute(query).mappings()]


def adjustments(connection: sa.Connection, job: str) -> dict[str, str]:
    """See `Store.adjustments`."""
    table, attempt = tables.adjustment, tables.attempt
    query = sa.select(table.c.id, table.c.body).join(attempt, attempt.c.key == table.c.attempt_key)
    return {
        identity: body
        for identity, body in connection.execute(query.where(attempt.c.name == job).order_by(table.c.key))
    }


def damage(connection: sa.Connection, attempt_id: str) -> list[Damage]:
    """See `Store.damage`."""
    attempt = _attempt(connection, attempt_id)
    if attempt is None:
        return []
    names = series_names(connection, attempt.key)
    found: list[Damage] = []
    table = tables.chunk
    query = sa.select(table).where(table.c.attempt_key == attempt.key)
    for row in connection.execute(query.order_by(table.c.rank, table.c.series, table.c.chunk)):
        name, unit = names.get(row.series, ("", ""))
        try:
            data = checked(row.data, row.crc)
            if row.series == tables.AXIS:
                decode_axis(data, row.rows)
            else:
                decode_column(data, row.rows, unit)
        except DamagedError as error:
            found.append(_chunk_damage(attempt, name, row, error))
    for row in connection.execute(sa.select(tables.journal).where(tables.journal.c.attempt_key == attempt.key)):
        try:
            decode_pieces(checked(row.data, row.crc), names)
        except DamagedError as error:
            found.append(_journal_damage(attempt, row, error))
    return found


def series_names(connection: sa.Connection, key: int) -> dict[int, tuple[str, str]]:
    """Name and unit of each series of an attempt, by number."""
    table = tables.series
    found = connection.execute(sa.select(table).where(table.c.attempt_key == key).order_by(table.c.number))
    return {row.number: (row.name, row.unit) for row in found}


def journal_entries(
    connection: sa.Connection, key: int, attempt: sa.Row[tuple[object, ...]] | None = None
) -> Iterator[tuple[int, list[Piece]]]:
    """What is in no chunk yet, in the order of writing: key of the entry, and of its rows those that are in none.

    Args:
        connection: where to read.
        key: of the attempt.
        attempt: its row, where damage is to be logged.
    """
    names = series_names(connection, key)
    sealed = {
        row.rank: row.sealed
        for row in connection.execute(
            sa.select(tables.rank.c.rank, tables.rank.c.sealed).where(tables.rank.c.attempt_key == key)
        )
    }
    query = sa.select(tables.journal).where(tables.journal.c.attempt_key == key).order_by(tables.journal.c.key)
    for row in connection.execute(query).all():
        try:
            pieces = decode_pieces(checked(row.data, row.crc), names)
        except DamagedError as error:
            if attempt is not None:
                _log_damage(_journal_damage(attempt, row, error))
            continue
        kept = [_behind(piece, sealed.get(piece.rank, 0)) for piece in pieces]
        yield row.key, [piece for piece in kept if len(piece.samples)]


def _behind(piece: Piece, sealed: int) -> Piece:
    start = min(max(sealed + 1 - piece.first_seq, 0), len(piece.samples))
    if not start:
        return piece
    return Piece(piece.rank, piece.first_seq + start, piece.samples.rows(start, len(piece.samples)))


def _attempt(connection: sa.Connection, attempt_id: str) -> sa.Row[tuple[object, ...]] | None:
    return connection.execute(sa.select(tables.attempt).where(tables.attempt.c.attempt_id == attempt_id)).first()


def _job(row: sa.Row[tuple[object, ...]]) -> JobRecord:
    facts: Mapping[str, object] = json.loads(row.facts)
    state: Mapping[str, object] = json.loads(row.state)
    return JobRecord(row.attempt_id, row.name, row.attempt, facts, state, row.started_at, row.ended_at)


def _snapshot(attempt: sa.Row[tuple[object, ...]], found: sa.Row[tuple[object, ...]] | None) -> bytes | None:
    if found is None:
        return None
    try:
        return checked(bytes(found.data), found.crc)
    except DamagedError as error:
        # Detectors can start anew; a daemon that refuses the job cannot.
        structlog.get_logger().warning(
            "store_damaged", job=attempt.name, attempt=attempt.attempt, what="snapshot", cause=str(error)
        )
        return None


def _chunks_of(
    key: int, number: int, ranks: Sequence[int], from_step: int, to_step: int | None
) -> sa.Select[tuple[object, ...]]:
    values, axis = tables.chunk, tables.chunk.alias("axis")
    same = sa.and_(
        axis.c.attempt_key == values.c.attempt_key,
        axis.c.rank == values.c.rank,
        axis.c.chunk == values.c.chunk,
        axis.c.series == tables.AXIS,
    )
    query = (
        sa.select(values, axis.c.data.label("axis_data"), axis.c.crc.label("axis_crc"))
        .join(axis, same)
        .where(values.c.attempt_key == key, values.c.series == number, values.c.max_step >= from_step)
        .order_by(values.c.rank, values.c.chunk)
    )
    if to_step is not None:
        query = query.where(values.c.min_step <= to_step)
    return query.where(values.c.rank.in_(ranks)) if ranks else query


def _chunk_damage(
    attempt: sa.Row[tuple[object, ...]], name: str, row: sa.Row[tuple[object, ...]], error: DamagedError
) -> Damage:
    return Damage(attempt.name, attempt.attempt, name, row.rank, row.min_step, row.max_step, row.rows, str(error))


def _journal_damage(
    attempt: sa.Row[tuple[object, ...]], row: sa.Row[tuple[object, ...]], error: DamagedError
) -> Damage:
    return Damage(attempt.name, attempt.attempt, "", -1, row.min_step, row.max_step, row.rows, str(error))


def _log_damage(found: Damage) -> None:
    structlog.get_logger().warning("store_damaged", **vars(found))
