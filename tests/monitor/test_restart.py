"""A daemon that is killed at any point leaves the same series, findings and ledger as one that was not."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.monitor.scripted_rules import ScriptedRules
from tests.monitor.steered_job import SteeredJob

from steersman.cli.report.ownstore import read_store
from steersman.monitor.daemon import Daemon
from steersman.monitor.errors import StoreError
from steersman.monitor.ledger import LedgerEntry, verify
from steersman.monitor.store import open_store
from steersman.monitor.store.contract import Store, Unit
from steersman.rules.finding import Severity
from steersman.rules.readers import Wishes
from steersman.v1 import types_pb2 as types

Start = Callable[..., Awaitable[Daemon]]

RULES = ScriptedRules(fire_at=frozenset({40, 260}), factor=0.5, foretold=3.0, severity=Severity.WARNING)
BREAKING = replace(RULES, severity=Severity.CRITICAL)


def job(loss: Callable[[int, float], float], waits: tuple[int, ...], steps: int = 420) -> SteeredJob:
    return SteeredJob("attempt-1", steps, loss, waits)


def everything(url: str) -> dict[str, Any]:
    """What is stored, down to the bytes."""
    store = open_store(url)
    try:
        restored = store.restore("attempt-1")
        assert restored is not None
        ledger = store.ledger("run")
        assert verify(ledger) is None
        series = {}
        for info in store.list_series("attempt-1"):
            for rank, samples in store.series("attempt-1", info.name).items():
                values = samples.columns[info.name].values
                series[info.name, rank] = (samples.steps.tolist(), samples.times.tolist(), values.tolist())
        return {
            "series": series,
            "findings": restored.findings,
            "snapshot": restored.snapshot,
            "adjustments": dict(restored.adjustments),
            "high_water": dict(restored.high_water),
            "state": dict(restored.job.state),
            "ledger": ledger,
        }
    finally:
        store.close()


async def _voyage(
    start: Start,
    tmp_path: Path,
    steered: SteeredJob,
    name: str,
    seed: int | None,
    rules: ScriptedRules = RULES,
    **settings: Any,
) -> dict[str, Any]:
    running: list[Daemon] = []

    async def next_daemon() -> Daemon:
        running.append(await start(rules, store=name, clock=lambda: 2_000.0, **settings))
        return running[-1]

    await steered.live(next_daemon, None if seed is None else random.Random(seed))
    if seed is not None:
        assert len(running) >= 2, "this seed kills too seldom to show anything"
    await running[-1].drain()
    await running[-1].stop()
    return everything(f"sqlite:///{tmp_path / name}")


def calmer(step: int, factor: float) -> float:
    return 3.0 + 0.01 * (step % 7) - (0.5 if factor < 1 else 0.0)


def worse(step: int, factor: float) -> float:
    return 3.0 + 0.01 * (step % 7) + (2.0 if factor == 0.5 else 0.0)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("rules", "loss", "waits", "states"),
    [
        # cut at 48, kept after its ramp of 4 and 64 points; cut again at 264, kept
        (RULES, calmer, (48, 264), ["proposed", "approved", "armed", "applied", "probation", "kept"] * 2),
        # cut at 48, worse at once: taken back after its ramp and a few points; the job ends before it hears of the next
        (
            RULES,
            worse,
            (48, 64),
            ["proposed", "approved", "armed", "applied", "probation", "reverted", "proposed", "approved", "expired"],
        ),
        # worse as well, but it was breaking before it was cut: both are left in force
        (BREAKING, worse, (48, 264), ["proposed", "approved", "armed", "applied", "probation", "kept"] * 2),
    ],
)
async def test_killed_or_not_the_same_is_stored(
    start: Start,
    tmp_path: Path,
    seed: int,
    rules: ScriptedRules,
    loss: Callable[[int, float], float],
    waits: tuple[int, ...],
    states: list[str],
) -> None:
    calm = await _voyage(start, tmp_path, job(loss, waits), "calm.db", None, rules)
    killed = await _voyage(start, tmp_path, job(loss, waits), "killed.db", seed, rules)
    assert [LedgerEntry.parse(r.body).state for r in calm["ledger"]] == states
    for part in calm:
        assert killed[part] == calm[part], part


@pytest.mark.parametrize(("loss", "waits"), [(calmer, (48, 264)), (worse, (48, 64))])
async def test_a_look_into_the_store_finds_what_was_laid_on_and_taken_back(
    start: Start, tmp_path: Path, loss: Callable[[int, float], float], waits: tuple[int, ...]
) -> None:
    stored = await _voyage(start, tmp_path, job(loss, waits), "s.db", None)
    told = [(step, factor) for step, factor in json.loads(stored["snapshot"])["notes"]]
    (run,) = read_store(tmp_path / "s.db", "s.db", Wishes())
    assert list(run.adjustments) == told
    assert len(told) == 2
    assert any("adjusted at step 48" in note for note in run.notes)
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as connection, connection:
        connection.execute("update ledger set body = '{}'")
    (damaged,) = read_store(tmp_path / "s.db", "s.db", Wishes())
    assert damaged.adjustments == ()
    assert len(damaged.samples) == len(run.samples)
    assert any("what Steersman did to its learning rate is not known" in note for note in damaged.notes)


async def test_who_only_observes_stores_the_same_killed_or_not(start: Start, tmp_path: Path) -> None:
    def watched() -> SteeredJob:
        return SteeredJob("attempt-1", 420, worse, (), policy=types.POLICY_OBSERVE)

    calm = await _voyage(start, tmp_path, watched(), "calm.db", None)
    killed = await _voyage(start, tmp_path, watched(), "killed.db", 1)
    assert '"firing"' in calm["findings"]
    assert calm["ledger"] == []
    for part in calm:
        assert killed[part] == calm[part], part


class _LosesTheAnswer:
    """A store that says of every unit with ledger entries, and of every third, that it could not be written.

    They are on disk all the same, but for the first unit after one with ledger entries: that one is not.
    """

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self._owes = False
        self.written = 0
        self.landed = 0
        self.lost = 0

    def write(self, unit: Unit) -> None:
        if self._owes:
            self._owes = False
            self.lost += 1
            raise StoreError("the disk was full")
        self._inner.write(unit)
        self.written += 1
        if unit.ledger or self.written % 3 == 1:
            self._owes = bool(unit.ledger)
            self.landed += 1
            raise StoreError("the sync failed, and the unit is on disk all the same")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def test_a_unit_that_landed_though_its_write_failed_is_written_once(start: Start, tmp_path: Path) -> None:
    stores: list[_LosesTheAnswer] = []

    def opener(url: str) -> Any:
        stores.append(_LosesTheAnswer(open_store(url)))
        return stores[-1]

    calm = await _voyage(start, tmp_path, job(calmer, (48, 264)), "calm.db", None)
    shaken = await _voyage(start, tmp_path, job(calmer, (48, 264)), "shaken.db", None, open_store=opener)
    assert stores[0].landed > 2
    assert stores[0].lost > 1
    for part in calm:
        assert shaken[part] == calm[part], part
