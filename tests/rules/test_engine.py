from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.rules.engine import Engine, JobFacts, load_pack
from steersman.rules.finding import FindingState
from steersman.rules.samples import Column, Samples

PACK = load_pack()
FACTS = JobFacts("AdamW", 800)
NAMES = (
    "loss", "grad_norm", "lr/0", "lr/1", "val_loss", "val_loss/b", "hypergrad_cos", "update_norm", "weight_norm",
    "predicted_decrease", "step_time",
)  # fmt: skip


def wild(seed: int, n: int, mess: float) -> Samples:
    """Rows with everything in them: gaps, NaN, infinities, absent columns, steps that jump back, LR jumps."""
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.choice([1, 1, 1, 7], n))
    if n > 20:
        steps[n // 2 :] -= steps[n // 3]
    columns = {}
    for name in NAMES:
        if rng.random() < 0.15:
            continue
        values = np.exp(0.5 * rng.standard_normal(n)) * (1.0 if rng.random() < 0.7 else -1.0)
        if name.startswith("lr"):
            values = np.repeat(rng.choice([1e-3, 1e-2, 0.0, 3e-3], n // 25 + 1), 25)[:n]
        odd = rng.random(n) < mess
        values[odd] = rng.choice([np.nan, np.inf, -np.inf, 0.0, 1e308, -1e308, 5e-324], odd.sum())
        columns[name] = Column(values, rng.random(n) < (0.9 if rng.random() < 0.7 else 0.1))
    return Samples(steps, np.asarray(1e9 + np.arange(n) * 0.1, np.float64), columns)


def seen(engine: Engine) -> str:
    return json.dumps(
        [repr(engine.features()), repr(engine.findings()), repr(engine.diagnose()), repr(engine.forecast(50))]
    )


# Plain numbers, not rows, so that a failing case prints in one line.
jobs = st.tuples(st.integers(0, 10_000), st.integers(1, 300), st.sampled_from([0.0, 0.02, 0.4]))


def test_the_cosines_of_groups_are_kept_and_judge_nothing() -> None:
    job = wild(3, 300, 0.0)
    groups = {f"hypergrad_cos/{group}": Column.full(np.full(len(job), -1.0)) for group in ("0", "1", "1.0")}
    plain, more = Engine(PACK, FACTS), Engine(PACK, FACTS)
    assert repr(plain.feed(job)) == repr(more.feed(Samples(job.steps, job.times, {**job.columns, **groups})))
    assert seen(plain) == seen(more)


@settings(max_examples=40, deadline=None)
@given(jobs, st.data())
def test_how_rows_are_cut_changes_nothing(made: tuple[int, int, float], data: st.DataObject) -> None:
    job = wild(*made)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(job)), max_size=6)))
    whole, parts = Engine(PACK, FACTS), Engine(PACK, FACTS)
    changed = whole.feed(job)
    pieces = [f for a, b in zip([0, *cuts], [*cuts, len(job)], strict=True) for f in parts.feed(job.rows(a, b))]
    assert repr(pieces) == repr(changed)
    assert seen(parts) == seen(whole)
    assert parts.snapshot() == whole.snapshot()


@settings(max_examples=40, deadline=None)
@given(jobs, st.data())
def test_restored_anywhere_it_goes_on_to_the_bit(made: tuple[int, int, float], data: st.DataObject) -> None:
    job = wild(*made)
    cut = data.draw(st.integers(0, len(job)))
    adjusted = data.draw(st.booleans())
    facts = data.draw(st.sampled_from([FACTS, JobFacts("AdamW"), JobFacts("AdamW", 0, joined=True)]))
    straight, broken = Engine(PACK, facts), Engine(PACK, facts)
    for engine in (straight, broken):
        engine.feed(job.rows(0, cut))
        if adjusted:
            engine.note_adjustment(int(job.steps[min(cut, len(job) - 1)]), 0.5)
    broken = Engine.restore(PACK, facts, broken.snapshot())
    assert seen(broken) == seen(straight)
    assert repr(broken.feed(job.rows(cut, len(job)))) == repr(straight.feed(job.rows(cut, len(job))))
    assert seen(broken) == seen(straight)
    assert broken.snapshot() == straight.snapshot()


@pytest.mark.parametrize("cut", [61, 67, 70, 129, 262, 399])
@pytest.mark.parametrize("schedule", [1.0, 0.0])
def test_a_long_quiet_job_goes_on_to_the_bit(cut: int, schedule: float) -> None:
    n = 420
    rng, lr = np.random.default_rng(4), 1e-3 * (1.0 - (1.0 - schedule) * np.arange(n) / n)
    columns = {"loss": Column.full(2.0 * np.exp(0.05 * rng.standard_normal(n))), "lr/0": Column.full(lr)}
    job = Samples(np.arange(n), np.asarray(1e9 + np.arange(n) * 0.1, np.float64), columns)
    straight, broken = Engine(PACK, FACTS), Engine(PACK, FACTS)
    straight.feed(job.rows(0, cut))
    broken.feed(job.rows(0, cut))
    broken = Engine.restore(PACK, FACTS, broken.snapshot())
    assert seen(broken) == seen(straight)
    assert repr(broken.feed(job.rows(cut, n))) == repr(straight.feed(job.rows(cut, n)))
    assert seen(broken) == seen(straight)


@settings(max_examples=30, deadline=None)
@given(jobs, st.data())
def test_a_prefix_is_judged_as_the_whole_judges_it(made: tuple[int, int, float], data: st.DataObject) -> None:
    job = wild(*made)
    cut = data.draw(st.integers(0, len(job)))
    prefix, whole = Engine(PACK, FACTS), Engine(PACK, FACTS)
    said = prefix.feed(job.rows(0, cut))
    before = whole.feed(job)[: len(said)]
    assert repr(before) == repr(said)


@settings(max_examples=40, deadline=None)
@given(jobs)
def test_whatever_comes_the_words_are_finite(made: tuple[int, int, float]) -> None:
    job = wild(*made)
    engine = Engine(PACK, FACTS)
    engine.feed(job)
    diagnosis = engine.diagnose()
    assert 0.0 <= diagnosis.confidence <= 1.0
    assert diagnosis.headline
    assert diagnosis.would_refute
    if diagnosis.recommended_lr is not None:
        found = diagnosis.recommended_lr
        assert 0.0 < found.low <= found.value <= found.high
        assert math.isfinite(found.high)
    if diagnosis.prescription is not None:
        assert 1 / 16 <= diagnosis.prescription.value <= 4.0


def test_rows_that_say_nothing_are_no_trouble() -> None:
    engine = Engine(PACK, JobFacts())
    assert engine.feed(Samples(np.arange(0), np.zeros(0))) == []
    assert engine.feed(Samples(np.arange(100), np.zeros(100))) == []
    assert engine.diagnose().verdict == "undetermined"
    assert engine.forecast(10) is None


def test_a_job_logged_every_500_steps_is_judged_by_the_same_values() -> None:
    loss = 4.0 * np.arange(1, 301) ** -0.3
    dense, sparse = Engine(PACK, JobFacts()), Engine(PACK, JobFacts())
    dense.feed(Samples(np.arange(300), np.arange(300.0), {"loss": Column.full(loss)}))
    sparse.feed(Samples(500 * np.arange(300), 500 * np.arange(300.0), {"loss": Column.full(loss)}))
    a, b = dense.features(), sparse.features()
    assert {k: a[k] for k in ("up", "cusum", "noise", "points")} == {
        k: b[k] for k in ("up", "cusum", "noise", "points")
    }
    assert b["i"] == pytest.approx(a["i"], rel=0.05)


def test_a_snapshot_of_another_version_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="feed the job's rows again"):
        Engine.restore(PACK, FACTS, b'{"version": 0}')


def test_a_gained_rule_starts_inactive_and_a_lost_one_is_dropped() -> None:
    engine = Engine(PACK, FACTS)
    engine.feed(wild(3, 100, 0.02))
    other = type(PACK)(PACK.rules[:3])
    assert len(Engine.restore(PACK, FACTS, Engine.restore(other, FACTS, engine.snapshot()).snapshot()).findings()) <= 3


def test_the_forecast_holds_what_comes_when_nobody_touches_the_job() -> None:
    rng = np.random.default_rng(5)
    loss = 4.0 * np.arange(1, 501) ** -0.3 * np.exp(0.02 * rng.standard_normal(500))
    engine = Engine(PACK, FACTS)
    engine.feed(Samples(np.arange(400), np.arange(400.0), {"loss": Column.full(loss[:400])}))
    forecast = engine.forecast(100)
    assert forecast is not None
    assert forecast.low < loss[480:].mean() < forecast.high
    assert forecast.high - forecast.low < 0.15 * forecast.value


def test_a_finding_that_fired_keeps_its_first_step_when_it_is_resolved() -> None:
    loss = np.full(200, 2.0) + 0.01 * np.sin(np.arange(200))
    loss[100:104] = np.nan
    engine = Engine(PACK, FACTS)
    changed = engine.feed(Samples(np.arange(200), np.arange(200.0), {"loss": Column.full(loss)}))
    mine = [f for f in changed if f.rule == "nonfinite_loss"]
    assert [f.state for f in mine] == [FindingState.FIRING, FindingState.RESOLVED]
    assert [f.first_step for f in mine] == [100, 100]
    assert mine[1].last_step == 103
