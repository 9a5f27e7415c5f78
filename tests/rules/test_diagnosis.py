from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steersman.rules import sentences
from steersman.rules.diagnosis import SURE_HIGH
from steersman.rules.engine import Engine, JobFacts, load_pack
from steersman.rules.samples import Column, Samples
from steersman.rules.verdict import Verdict


def _series() -> Any:
    spec = importlib.util.spec_from_file_location("series", Path(__file__).parent / "series.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


s = _series()
PACK = load_pack()


def grown(n: int) -> np.ndarray:
    return np.asarray(10.0 * (1.0 + 0.5 * np.minimum(np.arange(n) / 60, 1.0)))


def too_hot(n: int = 120) -> Engine:
    engine = Engine(PACK, JobFacts("AdamW"))
    engine.feed(s.job(s.stalled(n), lr=0.05, c=-0.02, r=0.3, weight=grown(n)))
    return engine


def test_too_high_is_said_in_words_with_a_value_below_and_a_cut() -> None:
    diagnosis = too_hot().diagnose()
    assert diagnosis.verdict is Verdict.LR_TOO_HIGH
    assert diagnosis.headline == "learning rate too high"
    assert diagnosis.lr_is_the_lever is True
    assert diagnosis.recommended_lr is not None
    assert diagnosis.recommended_lr.high < 0.05
    assert diagnosis.prescription is not None
    assert 1 / 16 <= diagnosis.prescription.value < 0.6
    assert any("flat" in text for text in diagnosis.evidence_for)
    assert diagnosis.onset_step is not None
    assert diagnosis.onset_step < 100


def test_a_plateau_without_direction_abstains_from_the_rate() -> None:
    engine = Engine(PACK, JobFacts())
    engine.feed(s.job(s.flat(900, 1.0, 0.01), c=None))
    diagnosis = engine.diagnose()
    assert diagnosis.verdict is Verdict.PLATEAU
    assert diagnosis.lr_is_the_lever is None
    assert diagnosis.prescription is None
    assert diagnosis.recommended_lr is None


def test_few_points_are_too_few() -> None:
    engine = Engine(PACK, JobFacts())
    engine.feed(s.job(s.falling(20)))
    assert engine.diagnose().verdict is Verdict.TOO_SHORT


def test_a_healthy_job_is_called_healthy_with_its_numbers() -> None:
    engine = Engine(PACK, JobFacts("AdamW"))
    engine.feed(s.job(s.falling()))
    diagnosis = engine.diagnose()
    assert diagnosis.verdict is Verdict.HEALTHY
    assert diagnosis.prescription is None
    assert diagnosis.evidence_for


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("lr", [1e-3, None])
def test_a_job_that_was_never_seen_to_learn_is_not_called_healthy(joined: bool, lr: float | None) -> None:
    """Twelve series of noise: none is healthy, unless somebody came late and cannot know how it began."""
    said = set()
    for seed in range(12):
        n = 100
        loss = 2.3 + 0.05 * np.random.default_rng(seed).standard_normal(n)
        columns = {"loss": Column.full(loss)}
        if lr is not None:
            columns["lr/0"] = Column.full(np.full(n, lr))
        engine = Engine(PACK, JobFacts(joined=joined))
        engine.feed(Samples(np.arange(n), np.asarray(1e9 + np.arange(n), np.float64), columns))
        diagnosis = engine.diagnose()
        said.add(diagnosis.verdict)
        if diagnosis.verdict is Verdict.UNDETERMINED and not joined:
            assert any("has not been seen to fall" in text for text in diagnosis.evidence_for)
    assert (Verdict.HEALTHY in said) is joined


def test_a_first_loss_that_was_high_by_chance_is_no_constant() -> None:
    loss = 2.3 + 0.01 * np.random.default_rng(3).standard_normal(600)
    loss[0] = 2.34
    engine = Engine(PACK, JobFacts())
    for at in range(0, 600, 10):
        engine.feed(s.job(loss, c=None).rows(at, at + 10))
        assert engine.features()["offset"] == 0.0


@pytest.mark.parametrize("c", [None, 0.0])
def test_a_loss_that_hardly_moved_is_called_healthy_only_where_its_steps_tell(c: float | None) -> None:
    """Stuck at what guessing gives, or sunk to a constant: the loss alone looks the same."""
    noise = np.random.default_rng(2).standard_normal(1200)
    loss = 2.3 + 0.03 * np.exp(-np.arange(1200) / 60) + 0.002 * noise
    engine = Engine(PACK, JobFacts())
    engine.feed(s.job(loss, c=c))
    diagnosis = engine.diagnose()
    assert (diagnosis.verdict is Verdict.UNDETERMINED) is (c is None)
    assert any("the job hardly learns" in text for text in diagnosis.evidence_for) is (c is None)
    assert any("stays where it is" in text for text in diagnosis.evidence_for)


def test_of_several_evaluation_sets_the_one_that_rose_is_named() -> None:
    n = 600
    rows = s.job(s.falling(n), val=1.0 + np.maximum(np.arange(n) - 200.0, 0.0) / 100.0)
    rows.columns["val_loss/code"] = Column(2.0 * s.falling(n), np.arange(n) % 50 == 49)
    rows.columns["val_loss/prose"] = rows.columns.pop("val_loss")
    engine = Engine(PACK, JobFacts())
    engine.feed(rows)
    diagnosis = engine.diagnose()
    assert diagnosis.verdict is Verdict.OVERFITTING
    assert "Of 2 evaluation sets prose rose most." in diagnosis.evidence_for


def test_losses_that_are_exactly_zero_and_then_are_not_are_numbers_all_the_same() -> None:
    loss = np.r_[np.zeros(60), 1e10 * np.ones(60)]
    engine = Engine(PACK, JobFacts("Adam"))
    engine.feed(s.job(loss))
    values = engine.features()
    assert all(np.isfinite(v) for v in values.values() if isinstance(v, float))


def test_a_rate_of_zero_gets_no_value_and_is_told_what_would_tell_one() -> None:
    engine = Engine(PACK, JobFacts())
    engine.feed(s.job(s.flat(200, 3.0), lr=0.0, c=None))
    diagnosis = engine.diagnose()
    assert diagnosis.verdict is Verdict.LR_TOO_LOW
    assert diagnosis.recommended_lr is None
    assert any("a short run at any rate above zero" in text for text in diagnosis.evidence_against)
    assert "above zero" in diagnosis.would_refute, "twice zero is zero"


def test_a_break_that_is_not_laid_to_the_rate_says_why() -> None:
    """It had learned for long at this very rate, and nothing is known of its steps."""
    loss = np.r_[s.falling(600), 0.4 * np.exp(0.08 * np.arange(60))]
    engine = Engine(PACK, JobFacts())
    engine.feed(s.job(loss, c=None))
    diagnosis = engine.diagnose()
    assert diagnosis.verdict is Verdict.DIVERGED
    assert diagnosis.recommended_lr is None
    assert any("learning rate is not blamed" in text for text in diagnosis.evidence_against)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_has_something_that_would_refute_it(verdict: Verdict) -> None:
    assert sentences.would_refute(verdict)
    assert sentences.headline(verdict)


def test_after_a_cut_the_finding_is_held_then_resolved_when_the_loss_falls_again() -> None:
    engine = too_hot()
    engine.note_adjustment(120, 0.125)
    n = 200
    loss = np.concatenate([s.stalled(120), 4.0 * (np.arange(1, n + 1) / 20 + 1) ** -0.4])
    rows = s.job(loss, lr=np.where(np.arange(120 + n) < 120, 0.05, 0.05 / 8), c=0.05, r=0.006, weight=15.0)
    states = [f.state.value for f in engine.feed(rows.rows(120, 120 + n)) if f.rule == "lr_high_stalled"]
    assert states == ["resolved"]
    assert engine.diagnose().verdict in (Verdict.HEALTHY, Verdict.UNDETERMINED)


@pytest.mark.parametrize("share", [1.0, 4.0])
def test_only_a_break_at_the_recommended_rate_is_evidence_against_it(share: float) -> None:
    first = too_hot().diagnose()
    assert first.recommended_lr is not None
    engine = too_hot()
    lr = share * first.recommended_lr.value
    engine.note_adjustment(120, lr / 0.05)
    n = 160
    loss = np.concatenate([s.stalled(120), s.flat(60, 4.0), 4.0 * np.exp(0.03 * np.arange(n - 60))])
    rows = s.job(loss, lr=np.where(np.arange(120 + n) < 120, 0.05, lr), c=-0.2, r=0.06, weight=15.0)
    engine.feed(rows.rows(120, 120 + n))
    again = engine.diagnose()
    assert again.verdict is Verdict.LR_TOO_HIGH
    told = any("broke again although the learning rate was cut" in text for text in again.evidence_against)
    assert told is (share == 1.0)
    assert (again.confidence < 0.6 * first.confidence) is told


def test_one_set_that_worsens_is_not_hidden_by_another_that_does_not() -> None:
    n = 1000
    t = np.arange(n)
    rows = s.job(s.falling(n))
    good, bad = 2.0 - t / 1000, np.where(t < 400, 2.0 - t / 400, 1.0 + (t - 400) / 400)
    at = t % 50 == 49
    columns = {**rows.columns, "val_loss/good": Column(good, at), "val_loss/bad": Column(bad, at)}
    engine = Engine(PACK, JobFacts())
    engine.feed(Samples(rows.steps, rows.times, columns))
    assert engine.diagnose().verdict is Verdict.OVERFITTING


def test_a_loss_below_zero_that_runs_away_is_not_called_healthy() -> None:
    loss = np.concatenate([np.full(200, -15.0), np.linspace(-15.0, 335.0, 300)])
    loss += 0.1 * np.random.default_rng(0).standard_normal(len(loss))
    engine = Engine(load_pack(), JobFacts())
    n = len(loss)
    engine.feed(Samples(np.arange(n), np.zeros(n), {"loss": Column.full(loss), "lr/0": Column.full(np.full(n, 1e-3))}))
    assert engine.diagnose().verdict is Verdict.UNDETERMINED


@pytest.mark.parametrize("end", [-3.0, -0.5])
def test_a_loss_that_falls_below_zero_has_not_levelled_off(end: float) -> None:
    n = 1200
    loss = np.linspace(3.0, end, n) + 0.02 * np.random.default_rng(0).standard_normal(n)
    engine = Engine(load_pack(), JobFacts())
    columns = {"loss": Column.full(loss), "lr/0": Column.full(np.full(n, 1e-3))}
    changed = engine.feed(Samples(np.arange(n), np.zeros(n), columns))
    assert [f.rule for f in changed if f.severity != "info"] == []
    assert engine.diagnose().verdict is Verdict.HEALTHY


def test_another_batch_size_begins_another_regime_and_the_last_batch_of_an_epoch_does_not() -> None:
    n = 600
    size = np.where(np.arange(n) < 400, 32.0, 128.0)
    size[::100] = 7.0
    loss = 3.0 * np.arange(1, n + 1) ** -0.3 * np.exp(0.02 * np.random.default_rng(0).standard_normal(n))
    tenth = np.arange(n) % 10 == 0
    columns = {
        "loss": Column.full(loss),
        "lr/0": Column.full(np.full(n, 1e-3)),
        "batch_size": Column(size, tenth),
    }
    engine = Engine(load_pack(), JobFacts())
    began = []
    for k in range(n):
        engine.feed(Samples(np.arange(n), np.zeros(n), columns).rows(k, k + 1))
        if k > 10 and engine.features()["since_regime"] == 0.0:
            began.append(k)
    assert began == [430], "the third sample of the new size, one of which was the end of an epoch"


def mature(start: int, joined: bool = False) -> Engine:
    """A job at the noise floor of a rate that fits, seen from a step on."""
    rng = np.random.default_rng(5)
    n = 600
    tenth = np.arange(n) % 10 == 9
    columns = {
        "loss": Column.full(0.3 * np.exp(0.3 * rng.standard_normal(n))),
        "lr/0": Column.full(np.full(n, 1e-3)),
        "hypergrad_cos": Column(0.05 * rng.standard_normal(n), tenth),
        "update_norm": Column(np.full(n, 0.5), tenth),
        "weight_norm": Column(np.full(n, 10.0), tenth),
        "predicted_decrease": Column(np.full(n, 3e-2), tenth),
    }
    engine = Engine(load_pack(), JobFacts("AdamW", joined=joined))
    engine.feed(Samples(np.arange(n) + start, np.zeros(n), columns))
    return engine


@pytest.mark.parametrize(("start", "joined"), [(0, True), (5000, False), (5000, True)])
def test_a_job_that_is_at_its_noise_floor_when_it_is_first_seen_is_not_too_hot(start: int, joined: bool) -> None:
    engine = mature(start, joined)
    assert engine.diagnose().verdict is Verdict.HEALTHY
    values = engine.features()
    assert values["joined"] == 1.0
    assert values.get("above_start") is None


def test_a_job_that_looked_so_from_its_first_step_on_is() -> None:
    engine = mature(0)
    assert engine.features()["joined"] == 0.0
    assert engine.diagnose().verdict is Verdict.LR_TOO_HIGH


@pytest.mark.parametrize(
    ("first", "every", "joined"), [(1, 1, False), (500, 500, False), (10, 10, False), (600, 10, True)]
)
def test_where_a_log_begins_tells_whether_the_job_did(first: int, every: int, joined: bool) -> None:
    engine = Engine(load_pack(), JobFacts())
    n = 60
    columns = {"loss": Column.full(np.full(n, 2.0))}
    engine.feed(Samples(first + every * np.arange(n), np.zeros(n), columns))
    assert engine.features()["joined"] == joined


def test_what_is_only_likely_is_said_and_not_prescribed() -> None:
    engine = Engine(PACK, JobFacts("AdamW"))
    engine.feed(s.job(s.falling(400, power=0.35), c=0.05, r=0.007))
    diagnosis = engine.diagnose()
    assert diagnosis.rules == ("lr_low_likely",)
    assert diagnosis.recommended_lr is not None
    assert diagnosis.prescription is None


def overshooting(after: np.ndarray | None = None, still: float = 0.025) -> Samples:
    """600 steps that are long and do not agree, at a loss that stays where it is, and what comes after them.

    `still` is how long steps are, relative to the weights, after the rate was halved.
    """
    more = np.zeros(0) if after is None else after
    n = 600 + len(more)
    lr = np.where(np.arange(n) < 240, 0.05, 0.025)
    rows: Samples = s.job(
        np.r_[s.stalled(600, depth=0.3), more], lr=lr, c=-0.15, r=np.where(lr < 0.05, still, 0.3), promise=0.2
    )
    return rows


def test_a_second_cut_is_left_to_a_person_unless_the_job_breaks() -> None:
    engine = Engine(PACK, JobFacts("AdamW"))
    engine.feed(overshooting().rows(0, 240))
    first = engine.diagnose()
    assert first.verdict is Verdict.LR_TOO_HIGH
    assert first.prescription is not None
    engine.note_adjustment(240, 0.5)
    engine.feed(overshooting().rows(240, 600))
    second = engine.diagnose()
    assert second.verdict is Verdict.LR_TOO_HIGH
    assert second.recommended_lr is not None
    assert second.prescription is None
    assert any("another cut is left to a person" in words for words in second.evidence_against)
    engine.feed(overshooting(3.5 * np.exp(0.1 * np.arange(60))).rows(600, 660))
    third = engine.diagnose()
    assert third.verdict is Verdict.LR_TOO_HIGH
    assert third.prescription is not None


def test_a_job_that_is_still_far_too_hot_beyond_doubt_is_cut_again() -> None:
    engine = Engine(PACK, JobFacts("AdamW"))
    engine.feed(overshooting(still=0.15).rows(0, 240))
    engine.note_adjustment(240, 0.5)
    engine.feed(overshooting(still=0.15).rows(240, 600))
    assert engine.features()["p_high"] > SURE_HIGH
    second = engine.diagnose()
    assert second.verdict is Verdict.LR_TOO_HIGH
    assert second.prescription is not None
    assert second.prescription.value < 1.0
    assert not any("left to a person" in words for words in second.evidence_against)


@pytest.mark.parametrize("constant", [0.0, 30.0, 100.0])
def test_a_constant_in_the_loss_hides_no_progress(constant: float) -> None:
    """Long steps that do not agree: of the loss without a constant it is known what they bring, with one it is not."""
    engine = Engine(PACK, JobFacts("AdamW"))
    engine.feed(s.job(constant + s.falling(400, power=0.05), lr=0.05, c=-0.03, r=0.3, weight=2.0 * grown(400) - 10.0))
    assert engine.features()["offset"] == bool(constant)
    assert (engine.diagnose().verdict is Verdict.LR_TOO_HIGH) == (not constant)


def test_a_job_that_is_stuck_is_not_taken_for_one_with_a_constant_in_its_loss() -> None:
    engine = Engine(PACK, JobFacts("AdamW"))
    thrown = np.r_[np.linspace(2.35, 6.0, 12), np.linspace(6.0, 2.303, 20), s.flat(200, 2.303, 0.002)]
    engine.feed(s.job(thrown, lr=0.05, c=0.0, r=0.3, weight=grown(len(thrown))))
    assert engine.features()["above_start"] < 0.0
    assert engine.features()["offset"] == 0.0
    assert engine.diagnose().verdict is Verdict.LR_TOO_HIGH


def test_what_fired_is_over_once_the_loss_is_known_to_have_a_constant_in_it() -> None:
    engine = Engine(PACK, JobFacts("AdamW"))
    t = np.arange(1500)
    noisy = 100.0 * np.exp(-0.06 * t / 1000) * s.flat(1500, 1.0, 0.02)
    engine.feed(s.job(noisy, lr=0.05, c=0.0, r=0.06, weight=grown(1500)))
    assert engine.features()["offset"] == 1.0
    assert "lr_high_no_progress" not in {f.rule for f in engine.findings() if f.state.value == "firing"}


def test_a_loss_that_comes_down_again_has_not_risen_for_good() -> None:
    engine = Engine(PACK, JobFacts("AdamW"))
    down = 4.0 * np.arange(1, 501) ** -0.2 * s.flat(500, 1.0, 0.01)
    up = down[-1] * 1.8 * (np.arange(5500) / 100 + 1) ** -0.1 * s.flat(5500, 1.0, 0.01)
    rows = s.job(np.r_[down, up], c=None)
    engine.feed(rows.rows(0, 760))
    assert "risen" in {f.rule for f in engine.findings() if f.state.value == "firing"}
    engine.feed(rows.rows(760, 6000))
    assert "risen" not in {f.rule for f in engine.findings() if f.state.value == "firing"}


@pytest.mark.parametrize(
    ("norm", "fires"), [(np.zeros(300), True), (np.full(300, -1.0), False), (np.r_[np.zeros(25), np.ones(275)], False)]
)
def test_a_gradient_norm_of_zero(norm: np.ndarray, fires: bool) -> None:
    engine = Engine(PACK, JobFacts())
    engine.feed(s.job(s.flat(300, 2.303, 0.01), c=None, grad=norm))
    assert ("gradient_zero" in {f.rule for f in engine.findings() if f.state.value == "firing"}) is fires


def test_what_is_kept_and_the_version_of_snapshots_go_together() -> None:
    """Another daemon must see that it cannot read this: raise engine.VERSION, then note both here."""
    engine = Engine(PACK, JobFacts())
    engine.feed(s.job(s.falling(40), val=s.falling(40), grad=s.falling(40)))

    def names(kept: object, prefix: str = "") -> list[str]:
        if not isinstance(kept, dict):
            return []
        return [n for k, v in kept.items() for n in (f"{prefix}{k}", *names(v, f"{prefix}{k}."))]

    state = json.loads(engine.snapshot())
    state["alarms"] = {"any": next(iter(state["alarms"].values()))}
    digest = hashlib.sha256("\n".join(sorted(names(state))).encode()).hexdigest()[:12]
    assert (state["version"], digest) == (11, "8b5d31a06d48")


def test_a_snapshot_that_lacks_something_is_refused() -> None:
    engine = Engine(PACK, JobFacts())
    engine.feed(s.job(s.falling(40)))
    state = json.loads(engine.snapshot())
    del state["panel"]["grad_seen"]
    with pytest.raises(ValueError, match="grad_seen"):
        Engine.restore(PACK, JobFacts(), json.dumps(state).encode())
