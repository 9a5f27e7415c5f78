from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.agent.columns import MAX_ROWS, RowBuffer, merge, mergeable
from steersman.agent.probe.packet import PacketError, Row
from steersman.v1 import telemetry_pb2 as pb

COLUMNS = [["loss", ""], ["lr/0", ""], ["own_lr/0", ""]]


def buffer(last_seq: int = 0) -> RowBuffer:
    made = RowBuffer(last_seq)
    made.declare({"id": 0, "columns": COLUMNS})
    return made


def row(seq: int, present: int = 0b011, schema: int = 0) -> Row:
    return Row(schema, seq, seq + 10, seq / 2, present, (seq * 1.0, 0.5, 0.25))


def values(batch: pb.Batch) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for column in batch.columns:
        bits = int.from_bytes(column.present, "little") if column.present else -1
        numbers = struct.unpack(f"<{batch.rows}d", column.values)
        found[column.name] = [x if bits >> i & 1 else None for i, x in enumerate(numbers)]
    return found


def test_rows_become_columns() -> None:
    made = buffer()
    for seq, present in ((1, 0b011), (2, 0b010), (3, 0b111)):
        assert made.add(row(seq, present))
    (batch,) = made.take("a", 4)
    assert (batch.attempt_id, batch.rank, batch.first_seq, batch.rows) == ("a", 4, 1, 3)
    assert struct.unpack("<3q", batch.steps) == (11, 12, 13)
    assert struct.unpack("<3d", batch.times) == (0.5, 1.0, 1.5)
    assert values(batch) == {"loss": [1.0, None, 3.0], "lr/0": [0.5] * 3, "own_lr/0": [None, None, 0.25]}
    assert len(made) == 0


def test_a_gap_and_new_columns_begin_a_batch_and_known_rows_are_dropped() -> None:
    made = buffer(last_seq=2)
    assert not made.add(row(2))
    assert made.add(row(3))
    assert made.add(row(7))
    made.declare({"id": 1, "columns": [["loss", ""], ["a", "s"], ["b", "1"]]})
    assert made.add(row(8, schema=1))
    assert [(b.first_seq, b.rows, b.columns[1].name) for b in made.take("a", 0)] == [
        (3, 1, "lr/0"),
        (7, 1, "lr/0"),
        (8, 1, "a"),
    ]
    assert made.missing == 3


def test_a_batch_is_bounded() -> None:
    made = buffer()
    for seq in range(1, MAX_ROWS + 3):
        made.add(row(seq))
    assert [b.rows for b in made.take("a", 0)] == [MAX_ROWS, 2]


def test_the_jobs_own_lr_is_told_from_the_effective_one() -> None:
    made = buffer()
    assert made.own_lr() == (-1, {})
    made.add(row(1, 0b011))
    assert made.own_lr() == (11, {"0": 0.5})
    made.add(row(2, 0b111))
    assert made.own_lr() == (12, {"0": 0.25})


def test_what_breaks_the_format_is_said() -> None:
    made = buffer()
    with pytest.raises(PacketError, match="a row with 3 columns under schema 9, which says otherwise"):
        made.add(row(1, schema=9))
    with pytest.raises(PacketError, match="at most 64 columns, not 65"):
        made.declare({"id": 2, "columns": [[str(i), ""] for i in range(65)]})
    with pytest.raises(PacketError, match="does not follow the format"):
        made.declare({"id": 2})


@given(st.lists(st.integers(0, 7), min_size=1, max_size=60), st.lists(st.integers(1, 9), max_size=8))
def test_merging_changes_nothing(masks: list[int], cuts: list[int]) -> None:
    whole, parts = buffer(), buffer()
    batches: list[pb.Batch] = []
    for seq, mask in enumerate(masks, 1):
        whole.add(row(seq, mask | 1))
        parts.add(row(seq, mask | 1))
        if cuts and len(parts) >= cuts[0]:
            cuts.pop(0)
            batches += parts.take("a", 0)
    batches += parts.take("a", 0)
    (expected,) = whole.take("a", 0)
    runs: list[list[pb.Batch]] = []
    for batch in batches:
        if runs and mergeable(runs[-1][-1], batch):
            runs[-1].append(batch)
        else:
            runs.append([batch])
    merged = [merge(run) for run in runs]
    assert sum(b.rows for b in merged) == len(masks)
    joined: dict[str, list[float | None]] = {name: [] for name in values(expected)}
    for batch in merged:
        found = values(batch)
        for name, got in joined.items():
            got += found.get(name, [None] * batch.rows)
    assert joined == values(expected)
