from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steersman.cli.jsonform import dumps
from steersman.cli.report.ownstore import is_store, read_store
from steersman.monitor.errors import StoreError
from steersman.monitor.store import JobRecord, RowsWrite, Unit
from steersman.monitor.store.open import open_store
from steersman.monitor.store.readonly import recorded
from steersman.rules.engine import Engine
from steersman.rules.facts import JobFacts
from steersman.rules.packs import load_pack
from steersman.rules.readers import ReadError, Wishes, read_runs
from steersman.rules.recording import Recording
from steersman.rules.replay import replay
from steersman.rules.rows import DIRECT
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


READ_BY_THE_ENGINE = (*DIRECT, "lr/0", "lr/encoder", "val_loss", "val_loss/wiki")


def as_a_probe_sends_it(seed: int) -> Samples:
    """A job with all that the engine reads: gaps, values that are no numbers, and most of its gradients clipped."""
    draw = np.random.default_rng(seed)
    steps = np.arange(600)
    columns = {}
    for name in READ_BY_THE_ENGINE:
        present = draw.random(600) < (1.0 if name in ("loss", "lr/0", "lr/encoder") else 0.9)
        values = draw.random(600) + 0.5
        values[draw.random(600) < 0.3] = np.nan
        columns[name] = Column(values, present)
    columns["loss"] = Column.full(3.0 / (1 + steps) ** 0.1 + 0.01 * draw.standard_normal(600))
    columns["grad_norm"] = Column.full(4.0 + draw.random(600))
    columns["clipped_norm"] = Column.full(np.ones(600))
    columns |= {name: Column.full(np.full(600, 1e-3)) for name in ("lr/0", "lr/encoder")}
    return Samples(steps, 1e9 + steps.astype(np.float64) * 0.25, columns)


def same(column: Column, other: Column) -> bool:
    shown = column.present
    return bool((shown == other.present).all()) and np.array_equal(
        column.values[shown], other.values[shown], equal_nan=True
    )


@pytest.mark.parametrize("seed", range(4))
def test_what_the_engine_reads_of_a_live_job_is_read_back_from_store_and_export(tmp_path: Path, seed: int) -> None:
    live = as_a_probe_sends_it(seed)
    path = tmp_path / "steersman.db"
    store = open_store(str(path))
    store.write(Unit(jobs=[JobRecord("a", "gpt", 1, {}, {}, 1.0)], rows=[RowsWrite("a", 0, 1, live)]))
    store.close()
    (stored,) = read_store(path, "here", Wishes())
    (exported,) = read_runs(exported_to(tmp_path / "gpt.json", live), "there", Wishes())
    engine = Engine(load_pack(()), JobFacts())
    engine.feed(live)
    assert "mostly_clipped" in {finding.rule for finding in engine.findings()}
    for run in (stored, exported):
        assert set(run.samples.columns) == set(READ_BY_THE_ENGINE)
        for name, column in live.columns.items():
            assert same(column, run.samples.columns[name]), name
        assert_same_findings(run, engine)


def exported_to(path: Path, live: Samples) -> Path:
    """What `steersman series JOB NAME --json` prints of each series."""
    lines = []
    for name, column in live.columns.items():
        shown = column.present
        arrays = {"steps": live.steps[shown], "times": live.times[shown], "values": column.values[shown]}
        ranks = {"0": {key: array.tolist() for key, array in arrays.items()}}
        lines.append(dumps({"job": "gpt", "series": name, "unit": None, "ranks": ranks}))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def assert_same_findings(run: Recording, engine: Engine) -> None:
    done = replay(run, load_pack(()))
    told = [(f.rule, f.state, f.severity, f.first_step, f.last_step, f.summary) for f in done.engine.findings()]
    assert told == [(f.rule, f.state, f.severity, f.first_step, f.last_step, f.summary) for f in engine.findings()]
    assert done.diagnosis == engine.diagnose()
