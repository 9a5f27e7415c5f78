"""What a disk can do to a store, and what is left of it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from steersman.monitor.errors import StoreError
from steersman.monitor.store import Damage, JobRecord, RowsWrite, Store, Unit, open_store
from steersman.rules.samples import Column, Samples

JOB = JobRecord("a", "gpt", 2, {}, {}, 1.0)


def samples(start: int, count: int) -> Samples:
    steps = np.arange(start, start + count)
    dice = np.random.default_rng(start)
    return Samples(
        steps,
        steps.astype(np.float64),
        {"loss": Column.full(dice.normal(size=count)), "lr/g": Column.full(dice.normal(size=count))},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Ranks 0 and 1, with chunks of steps 0-1023, 1024-2047 and a journal of 2048-2099 and 2100-2109."""
    path = tmp_path / "store.db"
    store = open_store(str(path))
    store.write(
        Unit(jobs=[JOB], rows=[RowsWrite("a", r, 1, samples(0, 2100)) for r in (0, 1)], snapshots={"a": b"state"})
    )
    store.write(Unit(rows=[RowsWrite("a", r, 2101, samples(2100, 10)) for r in (0, 1)]))
    store.close()
    return path


@pytest.fixture
def stores() -> Iterator[list[Store]]:
    opened: list[Store] = []
    yield opened
    for store in opened:
        store.close()


def flip(path: Path, table: str, where: str) -> None:
    """Change one bit in the middle of one blob."""
    with sqlite3.connect(path) as connection:
        found = connection.execute(f"SELECT rowid, data FROM {table} WHERE {where} ORDER BY rowid").fetchone()
        data = bytearray(found[1])
        data[len(data) // 2] ^= 0x10
        connection.execute(f"UPDATE {table} SET data = ? WHERE rowid = ?", (bytes(data), found[0]))
    connection.close()


def reopened(path: Path, stores: list[Store]) -> Store:
    stores.append(open_store(str(path)))
    return stores[-1]


def test_one_bad_chunk_costs_its_series_and_steps_and_nothing_else(path: Path, stores: list[Store]) -> None:
    flip(path, "chunk", "rank = 1 AND chunk = 0 AND series = (SELECT number FROM series WHERE name = 'loss')")
    store = reopened(path, stores)
    with capture_logs() as logged:
        read = store.series("a", "loss")
    assert read[0].steps.tolist() == list(range(2110))
    assert read[1].steps.tolist() == list(range(1024, 2110))
    assert [(line["event"], line["log_level"], line["series"], line["first_step"]) for line in logged] == [
        ("store_damaged", "warning", "loss", 0)
    ]
    assert store.series("a", "lr/g")[1].steps.tolist() == list(range(2110))
    (found,) = store.damage("a")
    assert found == Damage("gpt", 2, "loss", 1, 0, 1023, 1024, found.cause)
    words = (
        r"job gpt attempt 2: series loss of rank 1 cannot be read from step 0 to step 1023 \(1024 rows\): its checks"
    )
    with pytest.raises(StoreError, match=words):
        store.check("a")


def test_bad_steps_and_times_cost_all_series_of_their_rows(path: Path, stores: list[Store]) -> None:
    flip(path, "chunk", "rank = 0 AND chunk = 1 AND series = 0")
    store = reopened(path, stores)
    for name in ("loss", "lr/g"):
        assert store.series("a", name)[0].steps.tolist() == [*range(1024), *range(2048, 2110)]
    assert [str(found).split(":")[1] for found in store.damage("a")] == [
        " all series of rank 0 cannot be read from step 1024 to step 2047 (1024 rows)"
    ]


def test_a_bad_journal_entry_costs_its_unit_and_the_job_goes_on(path: Path, stores: list[Store]) -> None:
    flip(path, "journal", "max_step = 2099")
    store = reopened(path, stores)
    with capture_logs() as logged:
        assert store.series("a", "loss")[0].steps.tolist() == [*range(2048), *range(2100, 2110)]
    assert logged[0]["event"] == "store_damaged"
    # The high-water mark stands: the rows were acknowledged, and nobody has them any more.
    store.write(Unit(rows=[RowsWrite("a", 0, 2111, samples(2110, 2000))]))
    assert store.series("a", "loss")[0].steps.tolist() == [*range(2048), *range(2100, 4110)]
    (found,) = store.damage("a")
    assert (found.rank, found.first_step, found.last_step, found.rows) == (-1, 2048, 2099, 104)
    assert "all series of all ranks cannot be read from step 2048 to step 2099" in str(found)


def test_a_bad_snapshot_is_none(path: Path, stores: list[Store]) -> None:
    flip(path, "snapshot", "1")
    store = reopened(path, stores)
    with capture_logs() as logged:
        restored = store.restore("a")
    assert restored is not None
    assert restored.snapshot is None
    assert restored.high_water == {0: 2110, 1: 2110}
    assert (logged[0]["event"], logged[0]["what"]) == ("store_damaged", "snapshot")


def test_a_blob_with_a_right_checksum_and_nothing_sensible_in_it_is_damage_too(path: Path, stores: list[Store]) -> None:
    import zlib

    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE chunk SET data = ?, crc = ?", (b"nonsense", zlib.crc32(b"nonsense")))
        connection.execute("UPDATE journal SET data = ?, crc = ?", (b"", 0))
    connection.close()
    store = reopened(path, stores)
    assert store.series("a", "loss") == {}
    assert len(store.damage("a")) == 2 * 2 * 3 + 2


def test_a_full_database_refuses_the_unit_serves_readers_and_goes_on_when_there_is_room(
    path: Path, stores: list[Store]
) -> None:
    store = reopened(path, stores)
    before = store.series("a", "loss")[0].steps.tolist()
    limit_pages(store, 1)
    with pytest.raises(StoreError, match="could not be written, the disk is full: free some space"):
        store.write(Unit(rows=[RowsWrite("a", 0, 2111, samples(2110, 3000))], snapshots={"a": b"later"}))
    assert store.series("a", "loss")[0].steps.tolist() == before
    restored = store.restore("a")
    assert restored is not None
    assert (restored.high_water[0], restored.snapshot) == (2110, b"state")
    store.write(Unit(rows=[RowsWrite("a", 0, 2111, samples(2110, 3000))]))
    assert store.series("a", "loss")[0].steps.tolist() == list(range(5110))


def limit_pages(store: Store, pages: int) -> None:
    # The limit belongs to the connection, which the store throws away after the failure: there is room again.
    from steersman.monitor.store.sql import SqlStore

    assert isinstance(store, SqlStore)
    with store._database.writing() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")


FILE_LIMIT = """
import resource, signal, sys
import numpy as np
from steersman.monitor.errors import StoreError
from steersman.monitor.store import JobRecord, RowsWrite, Unit, open_store
from steersman.rules.samples import Column, Samples

store = open_store(sys.argv[1])
store.write(Unit(jobs=[JobRecord("a", "gpt", 1, {}, {}, 1.0)]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
dice = np.random.default_rng(0)
high = 0

def write():
    global high
    noise = Column.full(dice.normal(size=500))
    samples = Samples(np.arange(high, high + 500), np.zeros(500), {"x": noise})
    store.write(Unit(rows=[RowsWrite("a", 0, high + 1, samples)]))
    high += 500

_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
refused = 0
while not refused:
    try:
        write()
    except StoreError as error:
        refused += 1
        print(error)
assert store.restore("a").high_water == {0: high}, "what was refused is not there"
assert store.series("a", "x")[0].steps.tolist() == list(range(high)), "what was there can be read"
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
for _ in range(5):
    write()
store.close()
store = open_store(sys.argv[1])
assert store.series("a", "x")[0].steps.tolist() == list(range(high)), "it goes on"
assert store.damage("a") == []
store.close()
print("units before", high // 500 - 5)
"""


def test_a_file_that_may_not_grow_refuses_the_unit_and_goes_on_when_it_may(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILE_LIMIT, str(tmp_path / "store.db")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "could not be read or written" in done.stdout
    assert "look at the disk" in done.stdout
