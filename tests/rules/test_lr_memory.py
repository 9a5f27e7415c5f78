"""What breaks a job was in force when the trouble began; that is remembered, and what follows from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from steersman.rules import sentences
from steersman.rules.backtest.outcome import outcome
from steersman.rules.engine import Engine, JobFacts, load_pack
from steersman.rules.recording import Recording
from steersman.rules.replay import replay
from steersman.rules.samples import Column, Samples
from steersman.rules.verdict import Diagnosis, Verdict

PACK = load_pack()


def told(loss: list[float], lr: list[float], every: int = 5, grad: list[float] | None = None) -> Diagnosis:
    """The diagnosis of a log that has a row every five steps and nothing but loss, rate and norm."""
    n = len(loss)
    columns = {"loss": Column.full(loss), "lr/0": Column.full(lr)}
    if grad is not None:
        columns["grad_norm"] = Column.full(grad)
    engine = Engine(PACK, JobFacts())
    engine.feed(Samples(np.arange(1, n + 1) * every, np.zeros(n), columns))
    return engine.diagnose()


def decaying(n: int, peak: float, warm: int = 4) -> list[float]:
    return [
        peak * min((k + 1) / warm, 1.0) * (1.0 if k < warm else 0.5 + 0.5 * np.cos(np.pi * k / n)) for k in range(n)
    ]


@pytest.mark.parametrize(
    ("loss", "grad"), [([1.4, 3.3, 24.0], [0.7, 670.0, 54.0]), ([1.3, 6.0, 24.0], [7.6, 14.0, 36.0])]
)
def test_a_blow_up_is_known_by_the_third_point(loss: list[float], grad: list[float]) -> None:
    said = told(loss, [0.004, 0.009, 0.014], grad=grad)
    assert said.verdict is Verdict.LR_TOO_HIGH
    assert said.onset_step == 15
    assert said.recommended_lr is not None
    assert said.recommended_lr.high < 0.009


def test_the_rate_blamed_is_that_of_the_time_and_not_what_the_schedule_has_come_down_to() -> None:
    n = 60
    loss = [1.4, 3.3, 24.0, *[8.0 - 0.01 * k for k in range(n - 3)]]
    said = told(loss, decaying(n, 0.02), grad=[0.7, 670.0, *[54.0] * (n - 2)])
    assert said.verdict is Verdict.LR_TOO_HIGH
    assert said.recommended_lr is not None
    assert 1e-4 < said.recommended_lr.value < 0.009
    assert said.prescription is None, "the schedule has come down to it by itself"


def test_a_rate_that_served_for_long_is_not_suddenly_too_high() -> None:
    rng = np.random.default_rng(0)
    calm = (4.0 * np.arange(1, 401) ** -0.35 * np.exp(0.02 * rng.standard_normal(400))).tolist()
    said = told([*calm, *[9.0 + 0.1 * k for k in range(40)]], [1e-3] * 440)
    assert said.verdict is Verdict.DIVERGED


@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_a_constant_in_the_loss_makes_nothing_loud(shift: float) -> None:
    rng = np.random.default_rng(1)
    n = 600
    tenth = np.arange(n) % 10 == 9
    loss = 3.0 * np.arange(1, n + 1) ** -0.35 * np.exp(0.03 * rng.standard_normal(n)) + shift
    columns = {
        "loss": Column.full(loss),
        "lr/0": Column.full(np.full(n, 1e-2)),
        "hypergrad_cos": Column(0.01 + 0.1 * rng.standard_normal(n), tenth),
        "update_norm": Column(np.full(n, 0.4), tenth),
        "weight_norm": Column(np.full(n, 10.0), tenth),
    }
    engine = Engine(PACK, JobFacts("AdamW", n))
    changed = engine.feed(Samples(np.arange(n), np.zeros(n), columns))
    assert {f.rule for f in changed if f.state == "firing" and f.severity != "info"} == set()


def agreeing(n: int, lr: np.ndarray) -> Diagnosis:
    """The diagnosis of a job whose steps are much too short and agree, under its own schedule."""
    rng = np.random.default_rng(2)
    tenth = np.arange(n) % 10 == 9
    columns = {
        "loss": Column.full(3.0 * np.exp(-0.0001 * np.arange(n)) * np.exp(0.002 * rng.standard_normal(n))),
        "lr/0": Column.full(lr),
        "hypergrad_cos": Column(0.5 + 0.02 * rng.standard_normal(n), tenth),
        "update_norm": Column(10.0 * lr / lr.max() * 1e-4, tenth),
        "weight_norm": Column(np.full(n, 10.0), tenth),
        "predicted_decrease": Column(np.full(n, 3e-4), tenth),
    }
    engine = Engine(PACK, JobFacts("AdamW", n))
    engine.feed(Samples(np.arange(n), np.zeros(n), columns))
    return engine.diagnose()


def test_a_rate_is_asked_for_that_the_job_should_have_had_and_not_one_beside_the_end_of_its_schedule() -> None:
    n = 800
    plan = 1e-5 * (0.5 + 0.5 * np.cos(np.pi * np.arange(n) / n))
    early, late = agreeing(n, np.full(n, 1e-5)), agreeing(n, plan)
    for said in (early, late):
        assert said.verdict is Verdict.LR_TOO_LOW
        assert said.recommended_lr is not None
        assert said.recommended_lr.value > 1.5e-5
    assert early.prescription is not None
    assert late.prescription is None, "small steps at the end of a schedule are meant"


def test_a_log_without_rates_has_none_to_blame() -> None:
    loss = [2.3, *np.linspace(2.2, 1.8, 30), *[20.0 + k for k in range(40)]]
    assert told(loss, [0.01] * len(loss)).verdict in (Verdict.LR_TOO_HIGH, Verdict.DIVERGED)
    engine = Engine(PACK, JobFacts())
    n = len(loss)
    engine.feed(Samples(np.arange(n), np.zeros(n), {"loss": Column.full(loss)}))
    said = engine.diagnose()
    assert said.verdict is Verdict.DIVERGED
    assert said.recommended_lr is None


def thrown(then: np.ndarray, factor: float = 0.35) -> tuple[Engine, Samples]:
    """A job that falls to about 2, is thrown to 200, and is adjusted a little later; after that its loss is `then`."""
    rng = np.random.default_rng(4)
    before = np.r_[3.0 * np.arange(1, 81) ** -0.1, 2.0 * np.exp(np.minimum(np.arange(40) / 4.0, 4.6))]
    loss = np.r_[before, then] * np.exp(0.02 * rng.standard_normal(len(before) + len(then)))
    rates = 0.3 * np.minimum(np.arange(1, len(loss) + 1) / 90, 1.0)
    rates[len(before) :] *= factor
    engine = Engine(PACK, JobFacts("AdamW"))
    rows = Samples(np.arange(len(loss)), np.zeros(len(loss)), {"loss": Column.full(loss), "lr/0": Column.full(rates)})
    engine.feed(rows.rows(0, len(before)))
    assert engine.diagnose().verdict is Verdict.LR_TOO_HIGH
    engine.note_adjustment(len(before), factor)
    return engine, rows


COMING_BACK = 200.0 * np.arange(1, 401) ** -0.6


def test_a_job_that_was_thrown_far_is_not_called_healthy_before_it_has_come_back() -> None:
    engine, rows = thrown(np.r_[COMING_BACK, np.linspace(COMING_BACK[-1], 1.0, 600)])
    engine.feed(rows.rows(120, 520))
    assert not [f for f in engine.findings() if f.state.value == "firing"]
    said = engine.diagnose()
    assert said.verdict is Verdict.UNDETERMINED
    assert said.headline == sentences.NOT_BACK
    assert any("has not come back to where it stood" in text and "a restart at" in text for text in said.evidence_for)
    copy = Engine.restore(PACK, JobFacts("AdamW"), engine.snapshot())
    assert copy.diagnose() == said
    for each in (engine, copy):
        each.feed(rows.rows(520, len(rows)))
        assert each.diagnose().verdict is Verdict.HEALTHY


def test_a_rate_that_is_carried_up_to_what_broke_the_job_is_told() -> None:
    engine, rows = thrown(COMING_BACK, factor=0.9)
    engine.feed(rows.rows(120, len(rows)))
    said = engine.diagnose()
    assert said.verdict is not Verdict.HEALTHY
    assert any("as high as that at which it broke" in text for text in said.evidence_for)


@pytest.mark.parametrize("thrown_to", [1.1, 20.0])
def test_only_a_job_that_was_thrown_has_something_to_come_back_to(thrown_to: float) -> None:
    """Two jobs that break, one a little above where it stood; neither comes back."""
    rng = np.random.default_rng(5)
    n = 400
    loss = np.r_[np.full(60, 4.0), np.full(n - 60, 4.0 * thrown_to)] * np.exp(0.02 * rng.standard_normal(n))
    loss[60:120] = np.maximum(loss[60:120], 4.0 * np.exp(np.arange(60) / 20.0)) if thrown_to > 2.0 else loss[60:120]
    columns = {"loss": Column.full(loss), "lr/0": Column.full(np.full(n, 0.1))}
    columns["hypergrad_cos"] = Column.full(-0.02 + 0.02 * rng.standard_normal(n))
    columns["update_norm"], columns["weight_norm"] = Column.full(np.full(n, 3.0)), Column.full(np.full(n, 10.0))
    rows = Samples(np.arange(n), np.zeros(n), columns)
    engine = Engine(PACK, JobFacts("AdamW"))
    engine.feed(rows.rows(0, 200))
    assert engine.diagnose().verdict is Verdict.LR_TOO_HIGH
    engine.note_adjustment(200, 0.35)
    engine.feed(rows.rows(200, n))
    told = any("has not come back to where it stood" in text for text in engine.diagnose().evidence_for)
    assert told is (thrown_to > 2.0)


def test_one_that_is_broken_again_is_told_where_it_stood() -> None:
    engine, rows = thrown(200.0 * np.exp(np.minimum(np.arange(60) / 5.0, 6.0)))
    engine.feed(rows.rows(120, len(rows)))
    said = engine.diagnose()
    assert said.verdict is Verdict.LR_TOO_HIGH
    assert said.prescription is not None
    assert any("has not come back to where it stood" in text for text in said.evidence_for)


def test_what_our_own_hand_did_is_known_when_a_run_is_replayed() -> None:
    engine, rows = thrown(COMING_BACK)
    changes = [f.summary for f in engine.feed(rows.rows(120, len(rows)))]
    recording = Recording("x", "x", "steersman", rows, JobFacts("AdamW"), adjustments=((120, 0.35),))
    replayed = replay(recording, PACK)
    assert replayed.diagnosis == engine.diagnose()
    assert [f.summary for f in replayed.changes][-len(changes) :] == changes
    assert replay(replace(recording, adjustments=()), PACK).diagnosis != engine.diagnose()
    assert outcome(recording, PACK).verdict is engine.diagnose().verdict
