"""A daemon killed at any point has every unit that it acknowledged, whole."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from steersman.monitor.store import open_store

WRITER = """
import sys
import numpy as np
from steersman.monitor.store import EventRecord, JobRecord, RowsWrite, Unit, open_store
from steersman.rules.samples import Column, Samples

store = open_store(sys.argv[1])
restored = store.restore("a")
seq = restored.high_water[0] if restored and restored.high_water else 0
number = restored.event_high_water.get(0, 0) if restored else 0
while True:
    count = 1 + (number * 37) % 300
    steps = np.arange(seq, seq + count)
    samples = Samples(steps, steps.astype(float), {"loss": Column.full(steps / 3)})
    seq, number = seq + count, number + 1
    store.write(Unit(
        jobs=[JobRecord("a", "gpt", 1, {}, {}, 1.0)],
        rows=[RowsWrite("a", rank, seq - count + 1, samples) for rank in (0, 1)],
        snapshots={"a": str(seq).encode()},
        events=[EventRecord("a", 0, number, 1.0, seq, "unit", "")],
    ))
    print(seq, number, flush=True)
"""


@pytest.mark.parametrize("seed", range(4))
def test_every_acknowledged_unit_is_there_after_kill_9(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "store.db"
    dice = random.Random(seed)
    acknowledged = (0, 0)
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stderr is not None
        for _ in range(dice.randint(1, 40)):
            line = child.stdout.readline()
            assert line, child.stderr.read()
            acknowledged = parsed(line)
        # Somewhere inside the next units: how far it gets while these rounds are counted is never the same.
        for _ in range(dice.randint(0, 200_000)):
            pass
        child.kill()
        for line in child.communicate()[0].splitlines(keepends=True):
            if line.endswith("\n"):
                acknowledged = parsed(line)
        store = open_store(str(path))
        restored = store.restore("a")
        assert restored is not None
        high_water = restored.high_water[0]
        assert high_water >= acknowledged[0]
        assert restored.event_high_water[0] >= acknowledged[1]
        # What came in one unit is there as one: rows of both ranks, snapshot, event.
        assert restored.high_water == {0: high_water, 1: high_water}
        assert restored.snapshot == str(high_water).encode()
        assert store.events("a", 1)[0].step == high_water
        for samples in store.series("a", "loss").values():
            assert samples.steps.tolist() == list(range(high_water))
            assert samples.columns["loss"].values.tolist() == [step / 3 for step in range(high_water)]
        assert store.damage("a") == []
        store.close()


def parsed(line: str) -> tuple[int, int]:
    seq, number = line.split()
    return int(seq), int(number)
