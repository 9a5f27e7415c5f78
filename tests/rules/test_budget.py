from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from steersman.rules.budget import SAMPLE_EVERY, STRIKES, Budget
from steersman.rules.engine import Engine, JobFacts, load_pack
from steersman.rules.finding import FindingState
from steersman.rules.language.condition import Condition, Value
from steersman.rules.packs import Pack
from steersman.rules.rule import Hold
from steersman.rules.samples import Column, Samples


class Clock:
    """CPU time that only passes where a test says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class Slow(Condition):
    """Holds always, and takes its time."""

    def __init__(self, clock: Clock, cost_us: Callable[[], float]) -> None:
        super().__init__("true")
        self.clock = clock
        self.cost_us = cost_us

    def evaluate(self, values: Mapping[str, Value]) -> bool | None:
        self.clock.now += int(1000 * self.cost_us())
        return super().evaluate(values)


def rows(n: int) -> Samples:
    return Samples(np.arange(n), np.arange(float(n)), {"loss": Column.full(2.0 + 0.01 * np.sin(np.arange(n)))})


def pack(clock: Clock, cost_us: Callable[[], float]) -> Pack:
    (rule,) = [r for r in load_pack().rules if r.name == "runaway"]
    slow = replace(rule, name="slow", expr=Slow(clock, cost_us), unless=None, clear=None, hold=Hold(3))
    return Pack((replace(rule, name="before"), slow, replace(rule, name="after")))


def test_a_slow_rule_is_stopped_named_and_no_longer_fires() -> None:
    clock = Clock()
    engine = Engine(pack(clock, lambda: 1500.0), JobFacts(), Budget(clock=clock))
    changed = engine.feed(rows(400))
    (stopped,) = engine.stopped
    assert stopped.rule == "slow"
    # Measured at the first check, and from then on at each, since it was slow; the first rows are checked one by one.
    assert stopped.step == STRIKES - 1
    assert stopped.reason == (
        "too slow: one evaluation took at least 1500 µs of CPU time in 8 measurements, where 1000 µs are allowed"
    )
    mine = [f.state for f in changed if f.rule == "slow"]
    assert mine == [FindingState.PENDING, FindingState.FIRING, FindingState.RESOLVED]
    assert not [f for f in engine.findings() if f.rule == "slow"]
    spent = clock.now
    engine.feed(rows(400))
    assert clock.now == spent


def test_a_rule_that_is_slow_only_now_and_then_stays() -> None:
    clock = Clock()
    # Of an odd length: every other evaluation is a measurement.
    costs = itertools.cycle([5000.0] * (STRIKES - 2) + [3.0])
    engine = Engine(pack(clock, lambda: next(costs)), JobFacts(), Budget(clock=clock))
    engine.feed(rows(2000))
    assert engine.stopped == ()


@pytest.mark.parametrize("cut", [3, 300])
def test_it_stays_stopped_when_the_daemon_comes_back(cut: int) -> None:
    clock = Clock()
    rules = pack(clock, lambda: 1500.0)
    engine = Engine(rules, JobFacts(), Budget(clock=clock))
    engine.feed(rows(cut))
    again = Engine.restore(rules, JobFacts(), engine.snapshot())
    assert again.stopped == engine.stopped
    assert again.snapshot() == engine.snapshot()
    assert bool(again.stopped) is (cut > 100)


def test_measuring_is_rare() -> None:
    clock = Clock()
    rules = [rule for rule in pack(clock, lambda: 1.0).rules if rule.name == "slow"]
    budget = Budget(clock=clock)
    for check in range(3 * SAMPLE_EVERY):
        if budget.due():
            assert budget.measure(rules, {}, check) == []
    assert clock.now / 1000 == 3


def test_the_shipped_rules_are_never_slow() -> None:
    engine = Engine(load_pack(), JobFacts(), Budget(bound_us=300.0))
    engine.feed(rows(4000))
    assert engine.stopped == ()
