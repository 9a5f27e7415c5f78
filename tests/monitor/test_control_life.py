"""Adjustments under everything that can happen, in any order: only allowed transitions, and limits hold."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.monitor.obedient_job import ack, control, diagnosis

from steersman.monitor.adjustment import (
    OPEN,
    TRANSITIONS,
    Adjustment,
    AdjustmentKind,
    AdjustmentState,
)
from steersman.monitor.control import Control, Policy
from steersman.monitor.docket import APPLY_WITHIN_S, DECIDE_WITHIN_S, UNDO, Moment
from steersman.monitor.errors import NotFoundError, RefusedError
from steersman.monitor.probation import Expectation

S = AdjustmentState


class Life(RuleBasedStateMachine):
    """Whatever people, jobs and clocks do in whatever order, the table holds, and a copy from storage does the same."""

    def __init__(self) -> None:
        super().__init__()
        self.control = control(Policy.APPROVE, cooldown_steps=3, max_adjustments=9)
        self.step = 0
        self.clock = 0.0
        self.was: dict[str, S] = {}
        self.counters = [0]

    def now(self) -> Moment:
        self.step += 1
        return Moment(self.step, float(self.step), self.clock, (0.1,))

    def some(self, index: int) -> str:
        ids = list(self.control.adjustments)
        return ids[index % len(ids)] if ids else "none"

    @rule(factor=st.sampled_from([0.3, 0.5, 2.0]), policy=st.sampled_from(list(Policy)))
    def consider(self, factor: float, policy: Policy) -> None:
        self.control.policy = policy
        self.control.consider(diagnosis(factor), self.now())

    @rule(kind=st.sampled_from(list(AdjustmentKind)), value=st.sampled_from([0.05, 0.5, 2.0]), dry=st.booleans())
    def propose(self, kind: AdjustmentKind, value: float, dry: bool) -> None:
        with contextlib.suppress(RefusedError):
            self.control.propose(kind, value, 2, "", "ann", self.now(), dry=dry)

    @rule(index=st.integers(0, 9), word=st.sampled_from(["approve", "reject", "revert"]))
    def decide(self, index: int, word: str) -> None:
        try:
            if word == "approve":
                self.control.approve(self.some(index), "ann", self.now())
            elif word == "reject":
                self.control.reject(self.some(index), "ann", "", self.now())
            else:
                self.control.revert(self.some(index), "ann", "", self.now())
        except (RefusedError, NotFoundError):
            pass

    @rule(
        index=st.integers(0, 9), undo=st.booleans(), state=st.sampled_from(["armed", "applied", "settled", "refused"])
    )
    def acknowledge(self, index: int, undo: bool, state: str) -> None:
        adjustment_id = self.some(index)
        now = self.now()
        laid_on = self.control.acknowledge(ack(adjustment_id + (UNDO if undo else ""), state, now.step), now)
        if laid_on is not None and not undo:
            self.control.put_on_probation(adjustment_id, Expectation.level(now.step, [3.0] * 9, 0.1), 5)

    @rule(loss=st.sampled_from([1.0, 3.0, 30.0, math.nan]), n=st.integers(1, 12))
    def rows(self, loss: float, n: int) -> None:
        for _ in range(n):
            now = self.now()
            self.control.observe(now.step, loss, now)

    @rule(verdict=st.sampled_from(["diverged", "nonfinite", "lr_too_high", "plateau"]))
    def unstable(self, verdict: str) -> None:
        now = self.now()
        self.control.note_instability("rule", verdict, now.step, now)

    @rule(seconds=st.sampled_from([1.0, DECIDE_WITHIN_S + 1, APPLY_WITHIN_S + 1]))
    def wait(self, seconds: float) -> None:
        self.clock += seconds
        self.control.tick(self.clock, self.step)

    @precondition(lambda self: not self.control.changes)
    @rule()
    def restart(self) -> None:
        c = self.control
        stored = [Adjustment.from_json(a.to_json()) for a in c.adjustments.values()]
        back = Control.from_json(c.job, c.attempt_id, c.to_json(), stored)
        assert repr(back) == repr(replace_commands(c))
        self.control = back

    @invariant()
    def the_table_holds(self) -> None:
        for change in self.control.take_changes():
            before = self.was.get(change.adjustment.id)
            after = S(change.state)
            if before is None:
                assert after is S.PROPOSED
            else:
                assert after in TRANSITIONS[before], (before, after)
            self.was[change.adjustment.id] = after
        assert {i: a.state for i, a in self.control.adjustments.items()} == self.was

    @invariant()
    def commands_count_up(self) -> None:
        for command in self.control.take_commands():
            assert command.counter > self.counters[-1]
            self.counters.append(command.counter)

    @invariant()
    def one_is_open(self) -> None:
        assert sum(a.state in OPEN for a in self.control.adjustments.values()) <= 1

    @invariant()
    def the_owner_has_the_last_word(self) -> None:
        assert 1 / 16 - 1e-9 <= self.control.in_force.factor(0.1) <= 16 + 1e-9


def replace_commands(c: Control) -> Control:
    return replace(c, commands=[], changes=[])


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
