"""What the SQLite store writes for what it is given: rows a second, bytes a sample, write amplification.

    python benchmarks/store_write.py [--units 1100] [--folder FOLDER] [--json]

The load is the one that a large job makes: one unit a second with one row of each of 512 ranks, 12 series a row. It is
played as fast as the store takes it. `head` is the layout that the store does not have, measured for comparison: a row
a rank that holds all its unsealed samples and is rewritten with every unit, here with 512 samples in it, the average.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steersman.monitor.store import JobRecord, RowsWrite, Unit, open_store
from steersman.monitor.store.codec import encode_axis, encode_column
from steersman.monitor.store.writer import CHUNK_ROWS
from steersman.rules.samples import Column, Samples

RANKS = 512
SERIES = 12
RAW = 8 * (SERIES + 2)
"""Bytes of a row as it arrives: step, time and the series."""


@dataclass(frozen=True)
class Measured:
    """What one load cost."""

    rows_per_s: float
    bytes_per_sample: float
    amplification: float
    unit_p50_ms: float
    unit_p99_ms: float
    unit_max_ms: float


class Curves:
    """Twelve series as a job has them: noise in float32, an LR that hardly moves, a constant, one in every ten rows."""

    def __init__(self, seed: int) -> None:
        self._dice = np.random.default_rng(seed)

    def rows(self, start: int, count: int) -> Samples:
        """So many rows from a step on."""
        steps = np.arange(start, start + count)
        noise = self._dice.normal(size=(SERIES, count)).astype(np.float32).astype(np.float64)
        columns = {f"noise/{n}": Column.full(2.0 + 0.1 * noise[n]) for n in range(8)}
        columns["step_time"] = Column.full(0.25 + 0.001 * self._dice.normal(size=count), "s")
        columns["lr/0"] = Column.full(1e-3 * np.cos(steps // 10 / 10_000))
        columns["backward_calls"] = Column.full(np.full(count, 4.0))
        columns["hypergrad_cos"] = Column(noise[11], steps % 10 == 0)
        times = 1.7e9 + steps + 0.001 * self._dice.normal(size=count)
        return Samples(steps, times, columns)


def written() -> int:
    """Bytes that this process gave to write calls so far."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def measure(path: Path, ranks: int, rows_each: int, units: int) -> Measured:
    """Write `units` units, each with `rows_each` rows of every rank."""
    curves = Curves(0)
    store = open_store(str(path))
    store.write(Unit(jobs=[JobRecord("a", "bench", 1, {}, {}, 1.0)]))
    seconds: list[float] = []
    before = written()
    for unit in range(units):
        first = unit * rows_each
        writes = [RowsWrite("a", rank, first + 1, curves.rows(first, rows_each)) for rank in range(ranks)]
        began = time.perf_counter()
        store.write(Unit(rows=writes, snapshots={"a": bytes(4096)}))
        seconds.append(time.perf_counter() - began)
    store.write(Unit(jobs=[JobRecord("a", "bench", 1, {}, {}, 1.0, 2.0)]))
    store.close()
    total = written() - before
    rows = ranks * rows_each * units
    with sqlite3.connect(path) as connection:
        kept = connection.execute("SELECT sum(length(data)) FROM chunk").fetchone()[0]
    connection.close()
    ordered = sorted(seconds)
    return Measured(
        rows_per_s=rows / sum(seconds),
        bytes_per_sample=kept / (rows * SERIES),
        amplification=total / (rows * RAW),
        unit_p50_ms=1e3 * statistics.median(ordered),
        unit_p99_ms=1e3 * ordered[int(len(ordered) * 0.99)],
        unit_max_ms=1e3 * ordered[-1],
    )


def measure_head(path: Path, ranks: int, units: int) -> Measured:
    """The same unit with a head row a rank, half full."""
    curves = Curves(0)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE head (rank INTEGER PRIMARY KEY, data BLOB)")
    tails = [curves.rows(0, CHUNK_ROWS // 2) for _ in range(ranks)]
    seconds: list[float] = []
    parts: list[bytes] = []
    before = written()
    for _ in range(units):
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        for rank, tail in enumerate(tails):
            parts = [encode_axis(tail.steps, tail.times), *map(encode_column, tail.columns.values())]
            connection.execute("INSERT OR REPLACE INTO head VALUES (?, ?)", (rank, b"".join(parts)))
        connection.execute("COMMIT")
        seconds.append(time.perf_counter() - began)
    connection.close()
    total = written() - before
    rows = ranks * units
    kept = sum(map(len, parts))
    return Measured(
        rows_per_s=rows / sum(seconds),
        bytes_per_sample=kept / (CHUNK_ROWS // 2 * SERIES),
        amplification=total / (rows * RAW),
        unit_p50_ms=1e3 * statistics.median(seconds),
        unit_p99_ms=1e3 * max(seconds),
        unit_max_ms=1e3 * max(seconds),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=1100, help="units of one row of each rank")
    parser.add_argument("--folder", help="on the disk to measure; default: the system's for temporary files")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        at = Path(folder)
        loads = {
            f"journal, {RANKS} ranks x 1 row a unit": measure(at / "wide.db", RANKS, 1, args.units),
            "journal, 1 rank x 1 row a unit": measure(at / "narrow.db", 1, 1, args.units),
            "catching up, 8 ranks x 512 rows a unit": measure(at / "bulk.db", 8, 512, max(args.units // 20, 4)),
            f"head, {RANKS} ranks x 1 row a unit": measure_head(at / "head.db", RANKS, 3),
        }
    if args.json:
        print(json.dumps({name: vars(load) for name, load in loads.items()}))
        return
    print(f"{'':42}{'rows/s':>9}{'B/sample':>10}{'written/raw':>13}{'unit p50':>10}{'p99':>8}{'max':>8} ms")
    for name, load in loads.items():
        print(
            f"{name:42}{load.rows_per_s:9.0f}{load.bytes_per_sample:10.2f}{load.amplification:13.2f}"
            f"{load.unit_p50_ms:10.1f}{load.unit_p99_ms:8.1f}{load.unit_max_ms:8.1f}"
        )


if __name__ == "__main__":
    main()
