"""How long the daemon waits between two adjustments of its own, and how many it makes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.monitor.obedient_job import at, control, diagnosis, lay_on, obeyed, run_probation

from steersman.agent.limits import Keeper, Order, Standing
from steersman.agent.limits import Limits as OwnersLimits
from steersman.monitor.adjustment import (
    AdjustmentState,
)
from steersman.monitor.control import Policy
from steersman.rules.verdict import Verdict

S = AdjustmentState


def test_cooldown_and_budget() -> None:
    c = control(cooldown_steps=100, max_adjustments=2)
    c.consider(diagnosis(), at(20))
    run_probation(c, lay_on(c, 21), 2.0)
    c.consider(diagnosis(), at(120))
    assert len(c.adjustments) == 1
    c.consider(diagnosis(), at(121))
    run_probation(c, lay_on(c, 122), 2.0)
    c.consider(diagnosis(), at(1000))
    assert len(c.adjustments) == 2
    tempered = c.temper(diagnosis())
    assert tempered.prescription is None
    assert "the 2 adjustments that the owner allows Steersman alone are used up" in tempered.evidence_against[-1]


def test_the_cooldown_counts_from_where_the_job_counts() -> None:
    """What is asked for earlier the job refuses, and what it refused is not asked for again for long."""
    c = control(cooldown_steps=100)
    c.consider(diagnosis(), at(20))
    run_probation(c, lay_on(c, 50), 2.0)
    c.consider(diagnosis(), at(149))
    assert len(c.adjustments) == 1
    c.consider(diagnosis(), at(150))
    assert len(c.adjustments) == 2


@given(st.integers(0, 60), st.integers(1, 5), st.sampled_from([Verdict.LR_TOO_HIGH, Verdict.DIVERGED]))
def test_the_job_does_not_refuse_for_its_cooldown(late: int, later: int, verdict: Verdict) -> None:
    """However far the job was ahead of its rows when an order reached it."""
    c = control(cooldown_steps=100)
    keeper = Keeper("attempt-1", OwnersLimits(cooldown_steps=100), "auto", Standing())

    def obey(asked: int, late: int) -> int:
        command = c.take_commands()[-1]
        keeper.see(asked + late, {"0": 0.1})
        order = Order(command.adjustment_id, "attempt-1", command.counter, 0.0, command.overlay.number)
        assert not keeper.objection(order, 0.0)
        keeper.permit(order)
        run_probation(c, obeyed(c, command, asked + late + later), 2.0)
        return asked + late + later

    c.consider(diagnosis(), at(20))
    first = obey(20, late)
    step = first + 20
    while len(c.adjustments) < 2 and step < first + 400:
        step += 1
        c.consider(diagnosis(verdict=verdict), at(step))
    assert step <= first + 100
    obey(step, 0)


def test_divergence_does_not_wait_where_a_person_approves() -> None:
    c = control(Policy.APPROVE)
    c.consider(diagnosis(), at(20))
    c.approve(next(iter(c.adjustments)), "ann", at(20))
    run_probation(c, lay_on(c, 21), 2.0)
    c.consider(diagnosis(verdict=Verdict.DIVERGED), at(60))
    assert len(c.adjustments) == 2


def test_divergence_waits_for_the_owners_cooldown_where_nobody_approves() -> None:
    c = control()
    c.consider(diagnosis(), at(20))
    run_probation(c, lay_on(c, 21), 2.0)
    c.consider(diagnosis(verdict=Verdict.DIVERGED), at(60))
    assert len(c.adjustments) == 1
    c.consider(diagnosis(verdict=Verdict.DIVERGED), at(221))
    assert len(c.adjustments) == 2
