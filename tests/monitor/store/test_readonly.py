from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steersman.cli.report.ownstore import is_store, read_store
from steersman.monitor.errors import StoreError
from steersman.monitor.store import JobRecord, RowsWrite, Unit
from steersman.monitor.store.open import open_store
from steersman.monitor.store.readonly import recorded
from steersman.rules.facts import JobFacts
from steersman.rules.readers import ReadError, Wishes
from steersman.rules.samples import Column, Samples


def rows(count: int, shift: float) -> Samples:
    steps = np.arange(count)
    columns = {
        "loss": Column.full(3.0 / (1 + steps) + shift),
        "val_loss/wiki": Column(np.full(count, 2.5), steps % 10 == 9),
        "lr/0": Column.full(np.full(count, 1e-3)),
    }
    return Samples(steps, 1e9 + steps.astype(np.float64) * 0.25, columns)


def test_a_store_is_read_while_a_daemon_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "with space" / "steersman.db"
    path.parent.mkdir()
    store = open_store(str(path))
    facts = {"planned_steps": 500, "ranks": {"0": {"optimizers": [{"class_name": "AdamW"}]}}}
    jobs = [JobRecord(f"a-{n}", "gpt", n, facts, {}, 100.0 + n) for n in (1, 2)] + [
        JobRecord("b", "empty", 1, {}, {}, 1.0)
    ]
    writes = [RowsWrite("a-1", rank, 1, rows(50, rank)) for rank in (0, 1)] + [RowsWrite("a-2", 0, 1, rows(2500, 0.0))]
    store.write(Unit(jobs=jobs, rows=writes))
    before = path.read_bytes()
    first, second = read_store(path, "here", Wishes())
    assert path.read_bytes() == before, "a look changes nothing"
    store.close()
    assert is_store(path)
    assert (first.name, second.name) == ("gpt", "gpt (attempt 2)")
    assert first.facts == JobFacts("AdamW", 500)
    assert first.samples.steps.tolist() == list(range(50))
    assert first.samples.columns["loss"].values[0] == 3.0, "of several ranks the lowest"
    assert int(first.samples.columns["val_loss/wiki"].present.sum()) == 5
    assert len(second.samples) == 2500


def test_another_programs_database_is_said_to_be_one(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table a (b)")
    connection.close()
    with pytest.raises(StoreError, match="no store of this Steersman's version, or damaged: no such table"):
        list(recorded(path))
    with pytest.raises(ReadError, match="an SQLite database, but no store of Steersman's"):
        read_store(path, "x", Wishes())
