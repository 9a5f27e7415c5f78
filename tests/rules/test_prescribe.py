"""How far a learning rate is moved at once, and where no hand is laid on it."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steersman.rules.engine import Engine, JobFacts, load_pack
from steersman.rules.judgement import Judgement
from steersman.rules.prescribe import raised
from steersman.rules.recommend import higher
from steersman.rules.samples import Samples
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


def overshooting(after: np.ndarray | None = None) -> Samples:
    """600 steps that are long and do not agree, at a loss that stays where it is, and what comes after them."""
    more = np.zeros(0) if after is None else after
    n = 600 + len(more)
    lr = np.where(np.arange(n) < 240, 0.05, 0.025)
    rows: Samples = s.job(
        np.r_[s.stalled(600, depth=0.3), more], lr=lr, c=-0.15, r=np.where(lr < 0.05, 0.025, 0.3), promise=0.2
    )
    return rows


@pytest.mark.parametrize("name", ["Adagrad", "torch.optim.adadelta.Adadelta"])
def test_an_optimizer_that_sums_up_its_gradients_is_told_a_rate_and_left_alone(name: str) -> None:
    engine = Engine(PACK, JobFacts(name))
    engine.feed(s.job(s.stalled(120), lr=0.05, c=-0.02, r=0.3, weight=grown(120)))
    diagnosis = engine.diagnose()
    assert diagnosis.verdict is Verdict.LR_TOO_HIGH
    assert diagnosis.recommended_lr is not None
    assert diagnosis.prescription is None


@pytest.mark.parametrize(
    ("steps", "c", "known", "most"),
    [
        (400, 0.4, True, 16.0),
        (400, 0.2, True, 16.0),
        (400, 0.4, False, 4.0),
        (400, 0.2, False, 2.0),
        (700, 0.4, True, 2.0),
    ],
)
def test_how_far_too_low_is_raised(steps: int, c: float, known: bool, most: float) -> None:
    """Half of what the learned judgement asks for, less where it can't be asked, and late one small step."""
    engine = Engine(PACK, JobFacts("AdamW", joined=not known))
    engine.feed(s.job(s.falling(steps, power=0.05), lr=1e-5, c=c, r=0.0003))
    diagnosis = engine.diagnose()
    assert diagnosis.verdict is Verdict.LR_TOO_LOW
    assert diagnosis.recommended_lr is not None
    assert diagnosis.recommended_lr.value > 1e-4
    assert diagnosis.prescription is not None
    factor = diagnosis.prescription.value
    assert factor == most
    assert diagnosis.prescription.over_steps == round(20 * math.log2(factor)), "each doubling takes as long"


@pytest.mark.parametrize(
    ("optimizer", "r", "c", "sure", "asks", "most"),
    [
        ("SGD", 0.0003, 0.2, 0.99, -5.5, 16.0),
        ("SGD", 0.0003, 0.2, 0.97, -5.5, 2.0),
        ("SGD", 0.0003, 0.4, 0.97, -5.5, 4.0),
        ("SGD", 0.0003, 0.2, 0.99, -3.5, 2.0**2.5),
        ("SGD", 0.0003, 0.2, 0.99, -0.6, 2.0),
        ("SGD", 0.0003, 0.4, 0.99, -0.6, 2.0),
        ("SGD", 0.005, 0.2, 0.99, -5.5, 16.0),
        ("AdamW", 0.0003, 0.2, 0.99, -5.5, 16.0),
        ("AdamW", 0.005, 0.2, 0.99, -5.5, 1.0 / (0.005 * 1000.0**0.5)),
        ("AdamW", 0.03, 0.2, 0.99, -5.5, 2.0),
        ("AdamW", 0.03, 0.4, 0.99, -5.5, 4.0),
    ],
)
def test_a_raise_goes_half_of_the_way_and_no_further_than_theory(
    optimizer: str, r: float, c: float, sure: float, asks: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was learned asks for: no relative step of Adam's is made longer than twice that of tuned runs."""
    monkeypatch.setattr("steersman.rules.features.panel.judge", lambda values: Judgement(sure, 0.0, asks))
    engine = Engine(PACK, JobFacts(optimizer))
    engine.feed(s.job(s.falling(400, power=0.05), lr=1e-5, c=c, r=r))
    values = engine.features()
    recommended = higher(values, 1e-5, None)
    assert recommended is not None
    assert recommended.value == pytest.approx(1e-5 * max(2.0**-asks, 2.0))
    asked = recommended.value / 1e-5
    assert min(asked, raised(values, asked, optimizer)) == pytest.approx(most, rel=0.05)


@pytest.mark.parametrize("lr", [0.3, 0.3 * np.arange(1, 61) / 60])
def test_how_far_a_broken_job_is_cut(lr: Any) -> None:
    """Less than what is asked for: weights that were blown up need long steps to come back."""
    engine = Engine(PACK, JobFacts("AdamW"))
    engine.feed(s.job(2.3 * np.exp(0.05 * np.arange(60)), lr=lr, c=-0.2, r=0.3))
    prescription = engine.diagnose().prescription
    assert prescription is not None
    assert prescription.value == 0.35


def test_a_job_that_has_learned_much_is_cut_by_a_step() -> None:
    loss = np.r_[4.0 * np.exp(-np.arange(40) * 0.06), 0.5 * np.exp(0.1 * np.arange(60))]
    engine = Engine(PACK, JobFacts("AdamW"))
    engine.feed(s.job(loss, lr=0.3, c=-0.2, r=0.3))
    prescription = engine.diagnose().prescription
    assert prescription is not None
    assert prescription.value == 0.5


def test_weights_that_are_no_numbers_get_a_value_but_no_adjustment() -> None:
    n = 80
    loss = np.where(np.arange(n) < 60, 2.3 * np.exp(0.05 * np.arange(n)), np.nan)
    engine = Engine(PACK, JobFacts("SGD"))
    engine.feed(s.job(loss, lr=3.0, c=-0.2, r=0.3))
    diagnosis = engine.diagnose()
    assert diagnosis.verdict is Verdict.LR_TOO_HIGH, "what is to be seen is not the cause"
    assert diagnosis.headline.endswith("loss or gradient is not a number")
    assert diagnosis.recommended_lr is not None
    assert diagnosis.recommended_lr.value < 1.5
    assert diagnosis.prescription is None


@pytest.mark.parametrize(
    ("optimizer", "make", "words"),
    [
        ("Adagrad", lambda: s.job(s.stalled(120), lr=0.05, c=-0.02, r=0.3, weight=grown(120)), "sums up the gradients"),
        ("SGD", lambda: s.job(np.r_[2.3 * np.exp(0.05 * np.arange(60)), np.full(20, np.nan)], lr=3.0, c=-0.2, r=0.3),
         "no numbers"),
    ],
)  # fmt: skip
def test_why_no_adjustment_is_proposed_is_told(optimizer: str, make: Any, words: str) -> None:
    engine = Engine(PACK, JobFacts(optimizer))
    engine.feed(make())
    diagnosis = engine.diagnose()
    assert diagnosis.recommended_lr is not None
    assert diagnosis.prescription is None
    assert any(t.startswith("No adjustment is proposed") and words in t for t in diagnosis.evidence_against)


@pytest.mark.parametrize("factors", [(0.5, 2.0), (2.0, 0.5)])
def test_what_was_taken_back_is_no_cut(factors: tuple[float, float]) -> None:
    engine = Engine(PACK, JobFacts("AdamW"))
    rows = overshooting()
    engine.feed(rows.rows(0, 240))
    engine.note_adjustment(240, factors[0])
    engine.feed(rows.rows(240, 260))
    engine.note_adjustment(260, factors[1])
    engine.feed(rows.rows(260, 600))
    diagnosis = engine.diagnose()
    assert diagnosis.verdict is Verdict.LR_TOO_HIGH
    assert diagnosis.prescription is not None
