"""Optimizers that step in turn, as those of a GAN: whose row is whose, and what may still be said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rules import series as s

from steersman.rules.engine import Engine
from steersman.rules.facts import JobFacts
from steersman.rules.packs import load_pack
from steersman.rules.samples import Column, Floats, Samples
from steersman.rules.verdict import Verdict

PACK = load_pack()


def in_turn(first: Floats, second: Floats, every: int = 1) -> Samples:
    """Two optimizers: `every` rows of the first, one of the second, and so on, each with its own rate."""
    turns = [k % (every + 1) < every for k in range(len(first) + len(second))]
    mine = np.array(turns)
    mine = mine[: min(np.searchsorted(np.cumsum(mine), len(first), "right"), len(mine))]
    loss = np.zeros(len(mine))
    loss[mine] = first[: mine.sum()]
    loss[~mine] = second[: (~mine).sum()]
    n = len(mine)
    rates = {"lr/0": Column(np.full(n, 1e-3), mine), "lr/1.0": Column(np.full(n, 4e-3), ~mine)}
    columns = {"loss": Column.full(loss), "grad_norm": Column.full(np.where(mine, 1.0, 50.0)), **rates}
    return Samples(np.arange(n), np.arange(n, dtype=np.float64), columns)


def fed(samples: Samples) -> tuple[Engine, set[str]]:
    engine = Engine(PACK, JobFacts())
    fired = {f.rule for f in engine.feed(samples) if f.state.value == "firing" and f.severity.value != "info"}
    return engine, fired


@pytest.mark.parametrize("every", [1, 5])
def test_a_loss_that_rises_while_another_falls_is_no_divergence(every: int) -> None:
    rising = 0.5 * np.arange(1, 601) ** 0.25 * s.flat(600, 1.0, 0.1)
    engine, fired = fed(in_turn(rising, s.falling(600), every))
    assert fired == set()
    said = engine.diagnose()
    assert said.verdict is Verdict.UNDETERMINED
    assert any("Several optimizers step in turn" in line for line in said.evidence_for)
    # The same series of an optimizer that is alone is one that diverges.
    assert {"rising", "runaway"} & fed(s.job(rising, c=None))[1]


def test_the_loss_looked_at_is_that_of_the_first_optimizer() -> None:
    engine, _ = fed(in_turn(s.flat(300, 2.0, 0.01), s.flat(300, 90.0, 0.01)))
    seen = engine.features()
    assert seen["loss_smooth"] == pytest.approx(2.0, rel=0.02)
    assert (seen["lr"], seen["in_turn"], seen["gnorm_change"]) == (1e-3, 1.0, 0.0)
    assert seen["noise"] < 0.02


def test_what_breaks_is_told_whosever_it_is() -> None:
    broken = s.falling(300)
    broken[200:] = np.nan
    assert fed(in_turn(s.falling(300), broken))[0].diagnose().verdict is Verdict.NONFINITE
    assert fed(in_turn(broken, s.falling(300)))[0].diagnose().verdict is Verdict.NONFINITE
    leaves = s.falling(300)
    leaves[200:] = 50.0 * np.arange(1, 101)
    assert "blow_up" in fed(in_turn(leaves, s.falling(300)))[1]


def rows_of(loss: Floats, first: np.ndarray, second: np.ndarray) -> Samples:
    """Rows with the rate of the one, the other, or both."""
    n = len(loss)
    rates = {"lr/0": Column(np.full(n, 1e-3), first), "lr/1.0": Column(np.full(n, 4e-3), second)}
    columns = {"loss": Column.full(loss), "grad_norm": Column.full(np.where(first, 1.0, 20.0)), **rates}
    return Samples(np.arange(n), np.arange(n, dtype=np.float64), columns)


def climbing(n: int) -> Floats:
    """A loss that falls, and leaves for good after two thirds."""
    loss = s.falling(n)
    at = n * 2 // 3
    loss[at:] = loss[at - 1] * 1.01 ** np.arange(n - at)
    return loss


@pytest.mark.parametrize(("after", "lr"), [(9.0, 4e-3), (3.0, 1e-3), (30.0, 1e-4)])
def test_an_optimizer_that_takes_over_is_watched_from_there_on(after: float, lr: float) -> None:
    n = 1500
    first = np.arange(n) < 300
    loss = np.r_[s.falling(300), after * np.exp(-0.0005 * np.arange(1200)) * s.flat(1200, 1.0, 0.01)]
    engine, fired = fed(rows_of(loss, first, ~first))
    assert fired == set()
    seen = engine.features()
    assert (seen["lr"], seen["in_turn"], seen["joined"]) == (4e-3, 0.0, 1.0)
    assert seen["loss_smooth"] == pytest.approx(loss[-1], rel=0.05)
    loss[1200:] *= 1.01 ** np.arange(300)
    assert {"runaway", "blow_up"} & fed(rows_of(loss, first, ~first))[1]


@pytest.mark.parametrize("every", [2, 8, 20])
def test_optimizers_that_ever_step_together_have_one_loss(every: int) -> None:
    """As Muon at each step and Adam at every second, or an encoder that is frozen now and then."""
    loss = climbing(900)
    turn = np.arange(900) % every == 0
    always = np.ones(900, dtype=np.bool_)
    for first, second in ((turn, always), (always, turn), (~turn | (np.arange(900) == 0), always)):
        engine, fired = fed(rows_of(loss, first, second))
        assert engine.features()["in_turn"] == 0.0
        assert "runaway" in fired


def test_an_optimizer_that_hardly_ever_steps_does_not_hide_the_other() -> None:
    loss = climbing(1800)
    rare = np.arange(1800) % 40 == 0
    assert "runaway" in fed(rows_of(loss, rare, ~rare))[1]


def test_a_job_that_stops_taking_turns_is_judged_again() -> None:
    loss = np.r_[s.falling(400), climbing(2700)]
    other = (np.arange(3100) < 400) & (np.arange(3100) % 2 == 1)
    engine, fired = fed(rows_of(loss, ~other, other))
    assert engine.features()["in_turn"] == 0.0
    assert "runaway" in fired


def test_a_few_rows_of_another_do_not_silence_a_job() -> None:
    samples = in_turn(s.falling(600), s.falling(600), every=60)
    assert fed(samples)[0].features()["in_turn"] == 0.0


def test_an_adjustment_is_taken_note_of_at_whatever_row() -> None:
    first = np.arange(400) < 100
    engine = Engine(PACK, JobFacts())
    samples = rows_of(s.falling(400), first, ~first)
    engine.feed(samples.rows(0, 100))
    engine.note_adjustment(150, 0.5)
    engine.feed(samples.rows(100, 200))
    assert engine.features()["adjusted"] == 1.0


@given(cut=st.integers(1, 399), every=st.integers(1, 6))
def test_how_rows_are_cut_changes_nothing(cut: int, every: int) -> None:
    samples = in_turn(s.falling(400), s.falling(400, 9.0), every)
    whole, _ = fed(samples)
    parts = Engine(PACK, JobFacts())
    parts.feed(samples.rows(0, cut))
    parts = Engine.restore(PACK, JobFacts(), parts.snapshot())
    parts.feed(samples.rows(cut, len(samples)))
    assert parts.snapshot() == whole.snapshot()
