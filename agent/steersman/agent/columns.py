"""Rows as they come from a probe, turned into columns as they go to the daemon."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from steersman.agent.probe.packet import MAX_COLUMNS, PacketError, Row
from steersman.v1 import telemetry_pb2

MAX_ROWS = 512
"""Rows in one batch."""

Columns = tuple[tuple[str, str], ...]


class RowBuffer:
    """The rows of one rank since the last flush.

    Args:
        last_seq: the highest sequence number that was taken before; what is not above it is dropped as known.

    Attributes:
        missing: rows that were numbered and never came; the owner reads it and sets it back to 0.
    """

    def __init__(self, last_seq: int = 0) -> None:
        self.last_seq = last_seq
        self.missing = 0
        self._schemas: dict[int, Columns] = {}
        self._rows: list[tuple[Columns, Row]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def declare(self, message: Mapping[str, Any]) -> None:
        """Take note of the columns of the rows to come.

        Raises:
            PacketError: the schema does not follow the format.
        """
        try:
            columns = tuple((str(name)[:128], str(unit)[:16]) for name, unit in message["columns"])
            identity = int(message["id"])
        except (KeyError, TypeError, ValueError) as error:
            raise PacketError(f"a schema that does not follow the format: {error!r}") from None
        if len(columns) > MAX_COLUMNS:
            raise PacketError(f"a row has at most {MAX_COLUMNS} columns, not {len(columns)}")
        if len(self._schemas) > 64:  # a probe numbers its schemas upwards; old ones are not used again
            self._schemas.pop(min(self._schemas))
        self._schemas[identity] = columns

    def add(self, row: Row) -> bool:
        """Take a row; False where it is known already.

        Raises:
            PacketError: its columns were never declared.
        """
        columns = self._schemas.get(row.schema)
        if columns is None or len(columns) != len(row.values):
            raise PacketError(f"a row with {len(row.values)} columns under schema {row.schema}, which says otherwise")
        if row.seq <= self.last_seq:
            return False
        # A probe's numbers have no holes: what is missing lay in the socket of an agent that was killed.
        self.missing += row.seq - self.last_seq - 1
        self.last_seq = row.seq
        self._rows.append((columns, row))
        return True

    def own_lr(self) -> tuple[int, dict[str, float]]:
        """The last step in the buffer and the job's own LR by group at it; (-1, {}) where the buffer is empty."""
        if not self._rows:
            return -1, {}
        columns, row = self._rows[-1]
        there = {name: row.values[i] for i, (name, _) in enumerate(columns) if row.present >> i & 1}
        # Without an overlay in force the effective LR is the job's own.
        own = {n[3:]: there.get("own_" + n, value) for n, value in there.items() if n.startswith("lr/")}
        return row.step, own

    def take(self, attempt_id: str, rank: int) -> Iterator[telemetry_pb2.Batch]:
        """The rows as batches, each without a gap and with one set of columns; the buffer is empty afterwards."""
        rows, self._rows = self._rows, []
        # Rows without a gap keep the same distance between sequence number and place.
        runs = groupby(enumerate(rows), key=lambda item: (item[1][0], item[1][1].seq - item[0]))
        for (columns, _), run in runs:
            part = [row for _, (_, row) in run]
            for start in range(0, len(part), MAX_ROWS):
                yield _batch(attempt_id, rank, columns, part[start : start + MAX_ROWS])


def merge(batches: Sequence[telemetry_pb2.Batch]) -> telemetry_pb2.Batch:
    """Consecutive batches of one rank with the same columns as one."""
    first = batches[0]
    if len(batches) == 1:
        return first
    merged = telemetry_pb2.Batch(
        attempt_id=first.attempt_id,
        rank=first.rank,
        first_seq=first.first_seq,
        rows=sum(batch.rows for batch in batches),
        steps=b"".join(batch.steps for batch in batches),
        times=b"".join(batch.times for batch in batches),
    )
    for index, column in enumerate(first.columns):
        parts = [batch.columns[index] for batch in batches]
        bits, at = 0, 0
        for batch, part in zip(batches, parts, strict=True):
            mask = int.from_bytes(part.present, "little") if part.present else (1 << batch.rows) - 1
            bits |= mask << at
            at += batch.rows
        values = b"".join(part.values for part in parts)
        merged.columns.add(name=column.name, unit=column.unit, values=values, present=_present(bits, merged.rows))
    return merged


def mergeable(left: telemetry_pb2.Batch, right: telemetry_pb2.Batch) -> bool:
    """Whether `merge` may join the two, in this order."""
    if left.first_seq + left.rows != right.first_seq or len(left.columns) != len(right.columns):
        return False
    return all((a.name, a.unit) == (b.name, b.unit) for a, b in zip(left.columns, right.columns, strict=True))


def _present(bits: int, rows: int) -> bytes:
    return b"" if bits == (1 << rows) - 1 else bits.to_bytes((rows + 7) // 8, "little")


def _batch(attempt_id: str, rank: int, columns: Columns, rows: Sequence[Row]) -> telemetry_pb2.Batch:
    count = len(rows)
    batch = telemetry_pb2.Batch(
        attempt_id=attempt_id,
        rank=rank,
        first_seq=rows[0].seq,
        rows=count,
        steps=struct.pack(f"<{count}q", *(row.step for row in rows)),
        times=struct.pack(f"<{count}d", *(row.time for row in rows)),
    )
    doubles = struct.Struct(f"<{count}d")
    for index, ((name, unit), values) in enumerate(
        zip(columns, zip(*(r.values for r in rows), strict=True), strict=True)
    ):
        bits = sum((row.present >> index & 1) << at for at, row in enumerate(rows))
        if bits:
            batch.columns.add(name=name, unit=unit, values=doubles.pack(*values), present=_present(bits, count))
    return batch
