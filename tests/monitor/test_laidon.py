"""What a store tells of what was laid on a job."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.monitor.obedient_job import at, control, lay_on

from steersman.monitor import jsonfloat
from steersman.monitor.adjustment import AdjustmentKind
from steersman.monitor.laidon import laid_on
from steersman.monitor.ledger import Ledger
from steersman.monitor.store.contract import LedgerRecord


def written(value: float, states: list[tuple[str, int]]) -> tuple[dict[str, str], list[LedgerRecord]]:
    """An operator's `set`, and what came of it."""
    c = control()
    c.propose(AdjustmentKind.SET, value, 0, "try", "ann", at(5), dry=False)
    adjustment = lay_on(c, 7)
    ledger = Ledger("run")
    records = [
        ledger.append(
            time=1.0,
            attempt_id="attempt-1",
            adjustment_id=adjustment.id,
            kind="set",
            params={},
            state=state,
            by="ann",
            reason="",
            step=step,
        )
        for state, step in states
    ]
    return {adjustment.id: jsonfloat.dumps(adjustment.to_json())}, records


def test_a_value_that_was_set_and_taken_back_is_two_factors_on_what_the_job_had() -> None:
    adjustments, ledger = written(
        0.02, [("proposed", 5), ("approved", 5), ("applied", 7), ("kept", 20), ("reverted", 30)]
    )
    found = laid_on(adjustments, ledger, lambda step: 0.1 if step == 7 else math.nan)
    assert [step for step, _ in found] == [7, 30]
    assert [factor for _, factor in found] == pytest.approx([0.2, 5.0])
    assert laid_on(adjustments, ledger, lambda step: math.nan) == [], "nothing is made up where the LR is not known"


def test_what_never_came_to_be_laid_on_is_not_told() -> None:
    adjustments, ledger = written(0.02, [("proposed", 5), ("approved", 5), ("reverted", 9)])
    assert laid_on(adjustments, ledger, lambda step: 0.1) == []
    applied = written(0.02, [("applied", 7)])[1]
    assert laid_on({}, applied, lambda step: 0.1) == []


def test_a_damaged_ledger_is_an_error() -> None:
    adjustments, ledger = written(0.02, [("applied", 7)])
    with pytest.raises(ValueError, match="not a ledger entry"):
        laid_on(adjustments, [replace(ledger[0], body="{}")], lambda step: 0.1)
