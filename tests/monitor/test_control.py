"""Adjustments: policies, limits, and what probation leads to."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from tests.monitor.obedient_job import ack, at, control, diagnosis, lay_on, obeyed, run_probation

from steersman.monitor.adjustment import (
    Adjustment,
    AdjustmentKind,
    AdjustmentState,
    Overlay,
)
from steersman.monitor.control import Control, Policy
from steersman.monitor.docket import UNDO
from steersman.monitor.errors import NotFoundError, RefusedError
from steersman.rules.verdict import RecommendedLR, Verdict

S = AdjustmentState


def test_observe_does_nothing() -> None:
    c = control(Policy.OBSERVE)
    c.consider(diagnosis(), at(20))
    assert not c.adjustments
    assert c.temper(diagnosis()).prescription is not None  # it says what it would do


@pytest.mark.parametrize("policy", [Policy.ADVISE, Policy.APPROVE])
def test_a_proposal_waits_for_a_person(policy: Policy) -> None:
    c = control(policy)
    c.consider(diagnosis(), at(20))
    (proposed,) = c.adjustments.values()
    assert (proposed.state, c.waiting(), c.take_commands()) == (S.PROPOSED, 1, [])
    c.consider(diagnosis(), at(2000))
    assert len(c.adjustments) == 1  # one open adjustment at a time
    approved = c.approve(proposed.id, "ann", at(30))
    assert (approved.state, approved.approved_by) == (S.APPROVED, "operator ann")
    (command,) = c.take_commands()
    assert (command.overlay, command.over_steps, command.by_operator) == (Overlay("factor", 0.5), 10, True)


@pytest.mark.parametrize(
    ("policy", "words"), [(Policy.APPROVE, "before anybody decided"), (Policy.AUTO, "before it could be laid on")]
)
def test_the_end_of_the_job_ends_what_was_not_laid_on(policy: Policy, words: str) -> None:
    c = control(policy)
    c.consider(diagnosis(), at(20))
    c.tick(21.0, 21)
    assert c.open() is not None
    c.tick(23.0, 22, ended=22.0)
    (adjustment,) = c.adjustments.values()
    assert (adjustment.state, adjustment.detail, adjustment.changed_at) == (S.EXPIRED, f"the job ended {words}", 22.0)


def test_auto_decides_by_itself_and_says_so() -> None:
    c = control()
    c.consider(diagnosis(), at(20))
    (command,) = c.take_commands()
    assert (command.by, command.counter, command.over_steps) == ("policy auto", 1, 10)
    assert [(x.state, x.by) for x in c.take_changes()] == [("proposed", "policy auto"), ("approved", "policy auto")]


def test_factors_are_relative_to_what_is_in_force() -> None:
    c = control(cooldown_steps=1)
    for step in (20, 200):
        c.consider(diagnosis(), at(step))
        run_probation(c, lay_on(c, step + 1), 2.0)
    assert c.in_force == Overlay("factor", 0.25)
    assert [a.state for a in c.adjustments.values()] == [S.KEPT, S.KEPT]


def test_auto_stays_within_the_owners_limits() -> None:
    c = control(min_factor=0.4)
    c.consider(diagnosis(0.1), at(20))
    (command,) = c.take_commands()
    assert command.overlay == Overlay("factor", 0.4)
    assert "below the owner's least, 0.4" in c.find(command.adjustment_id).detail


def test_auto_does_not_propose_what_the_limits_leave_nothing_of() -> None:
    c = control(min_factor=1.0)
    c.consider(diagnosis(0.5), at(20))
    assert not c.adjustments


def test_a_job_still_too_hot_half_the_way_down_is_taken_further() -> None:
    c = control(cooldown_steps=1)
    aimed = replace(diagnosis(), recommended_lr=RecommendedLR(0.02, 0.01, 0.04))
    c.consider(aimed, at(20))
    run_probation(c, lay_on(c, 21), 2.0)
    for step in (100, 150):
        c.note_instability("lr_too_high", "lr_too_high", step, at(step))
    c.consider(replace(aimed, prescription=diagnosis(0.25).prescription), at(160))
    assert [a.total_factor for a in c.adjustments.values()] == [0.5, 0.125]
    run_probation(c, lay_on(c, 161), 2.0)
    for step in (300, 350):
        assert not c.exhausted
        c.note_instability("lr_too_high", "lr_too_high", step, at(step))
    assert c.exhausted


def test_a_second_instability_after_a_cut_ends_prescribing() -> None:
    c = control(cooldown_steps=1)
    c.consider(diagnosis(), at(20))
    run_probation(c, lay_on(c, 21), 2.0)
    for step in (100, 150):
        assert not c.exhausted
        c.note_instability("lr_too_high", "lr_too_high", step, at(step))
    c.consider(diagnosis(), at(160))
    assert len(c.adjustments) == 1
    assert "not the whole cause" in c.temper(diagnosis()).evidence_against[-1]


def test_what_a_person_rejected_is_not_proposed_again_soon() -> None:
    c = control(Policy.APPROVE, cooldown_steps=100)
    c.consider(diagnosis(), at(20))
    (proposed,) = c.adjustments.values()
    rejected = c.reject(proposed.id, "ann", "not now", at(21))
    assert (rejected.state, rejected.detail) == (S.REFUSED, "rejected by operator ann: not now")
    c.consider(diagnosis(), at(150))
    assert len(c.adjustments) == 1
    c.consider(diagnosis(), at(520))
    assert len(c.adjustments) == 2


def test_a_cut_is_kept_unless_it_is_worse() -> None:
    for loss, state in ((3.0, S.KEPT), (3.4, S.REVERTED)):
        c = control()
        c.consider(diagnosis(), at(20))
        judged = run_probation(c, lay_on(c, 21), loss)
        if state is S.REVERTED:
            (command,) = c.take_commands()
            assert (command.undo, command.overlay, command.counter) == (True, Overlay(), 2)
            assert command.adjustment_id == judged.id + UNDO
            c.acknowledge(ack(command.adjustment_id, "applied", 60, 1.0), at(60))
        judged = c.find(judged.id)
        assert judged.state is state
        assert "up to 3.3 was foretold without the change, 3 on average" in judged.detail
        assert c.in_force == (Overlay("factor", 0.5) if state is S.KEPT else Overlay())


@pytest.mark.parametrize("loss", [3.4, 9.0])
@pytest.mark.parametrize("known", ["when it was asked for", "when it was laid on"])
def test_a_cut_of_a_job_that_was_breaking_is_judged_and_left_in_force(known: str, loss: float) -> None:
    c = control()
    c.consider(diagnosis(), at(20), breaking=known == "when it was asked for")
    restarted = Control.from_json(
        "run",
        "attempt-1",
        json.loads(json.dumps(c.to_json())),
        [Adjustment.from_json(json.loads(json.dumps(a.to_json()))) for a in c.adjustments.values()],
    )
    c = restarted if known == "when it was asked for" else c
    judged = run_probation(c, obeyed(c, c.pending_commands(0.0)[-1], 21, breaking=known == "when it was laid on"), loss)
    assert judged.state is S.KEPT
    assert "worse than foretold" in judged.detail
    assert judged.detail.endswith("left in force: the job was breaking at the learning rate that it had before")
    assert c.in_force == Overlay("factor", 0.5)


def test_a_raise_of_a_job_that_was_breaking_is_taken_back_all_the_same() -> None:
    c = control()
    c.consider(diagnosis(2.0, Verdict.LR_TOO_LOW), at(20), breaking=True)
    assert run_probation(c, lay_on(c, 21, breaking=True), 9.0).detail.startswith("being taken back: worse")


def test_the_read_back_of_what_was_taken_back_follows_the_ramp_to_its_end() -> None:
    c = control()
    c.consider(diagnosis(), at(20))
    judged = run_probation(c, lay_on(c, 21), 3.4)
    undo = c.take_commands()[-1].adjustment_id
    c.acknowledge(ack(undo, "applied", 60, 0.55), at(60))
    changes = c.take_changes()
    c.acknowledge(replace(ack(undo, "applied", 61, 0.6), rank=1), at(61))
    c.acknowledge(ack(undo, "settled", 70, 1.0), at(70))
    c.acknowledge(ack(undo, "applied", 60, 0.55), at(71))  # told again after a lost connection
    reverted = c.find(judged.id)
    assert reverted.state is S.REVERTED
    assert [(r.rank, r.step, r.lr) for r in reverted.ranks] == [(0, 70, (0.1,)), (1, 61, pytest.approx((0.06,)))]
    assert [r.step for r in changes[-1].adjustment.ranks] == [60]
    assert c.take_changes() == []  # the ledger tells what was read back when it was taken back


def test_a_cut_is_not_undone_into_a_divergence() -> None:
    c = control()
    c.consider(diagnosis(), at(20))
    adjustment = lay_on(c, 21)
    first = adjustment.applied_step + adjustment.over_steps + 1
    c.observe(first, 3.0, at(first))
    c.note_instability("diverged", "diverged", first, at(first))
    assert c.find(adjustment.id).state is S.KEPT
    assert "the cut was not enough" in c.find(adjustment.id).detail


@pytest.mark.parametrize("how", ["diverged", "nan", "worse"])
def test_a_raise_is_taken_back_at_once(how: str) -> None:
    c = control()
    c.consider(diagnosis(2.0, Verdict.LR_TOO_LOW), at(20))
    adjustment = lay_on(c, 21, points=64)
    first = adjustment.applied_step + adjustment.over_steps + 1
    c.observe(first, 3.0, at(first))
    if how == "diverged":
        c.note_instability("diverged", "diverged", first, at(first))
    elif how == "nan":
        c.observe(first + 1, math.nan, at(first + 1))
    else:
        for step in range(first + 1, first + 8):
            c.observe(step, 9.0, at(step))
    (command,) = c.take_commands()
    assert command.undo
    assert c.find(adjustment.id).detail.startswith("being taken back: ")


def test_a_raise_may_cost_a_little_while_it_settles() -> None:
    c = control()
    c.consider(diagnosis(2.0, Verdict.LR_TOO_LOW), at(20))
    adjustment = lay_on(c, 21, points=64)
    first = adjustment.applied_step + adjustment.over_steps + 1
    for step in range(first, first + 20):
        c.observe(step, 3.3 + 3 * 0.05, at(step))
    assert c.find(adjustment.id).state is S.PROBATION
    for step in range(first + 20, first + 64):
        c.observe(step, 2.8, at(step))
    assert c.find(adjustment.id).state is S.KEPT


@pytest.mark.parametrize("policy", list(Policy))
def test_an_operators_own_works_under_any_policy(policy: Policy) -> None:
    c = control(policy)
    own = c.propose(AdjustmentKind.SCALE, 2.0, 0, "try", "ann", at(5), dry=False)
    assert own.state is S.APPROVED
    judged = run_probation(c, replace(lay_on(c, 6), over_steps=0), 9.0)
    if policy is Policy.AUTO:
        assert judged.detail.startswith("being taken back")
    else:
        assert judged.state is S.KEPT
        assert f"steersman revert {own.id}" in judged.detail


def test_a_dry_run_does_nothing() -> None:
    c = control()
    dry = c.propose(AdjustmentKind.SET, 0.05, 0, "", "ann", at(5), dry=True)
    assert "dry run" in dry.detail
    assert not c.adjustments
    assert not c.take_changes()
    assert not c.take_commands()


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (AdjustmentKind.SCALE, 17.0, "a total factor of 17 is above the owner's most, 16"),
        (AdjustmentKind.SET, 0.001, "a total factor of 0.01 is below the owner's least, 0.0625"),
        (AdjustmentKind.SCALE, 2.0, "a learning rate of 0.2 is above the owner's most, 0.15"),
        (AdjustmentKind.SCALE, -1.0, "scale needs a positive number, not -1"),
        (AdjustmentKind.SCALE, math.nan, "scale needs a positive number, not nan"),
        (AdjustmentKind.HOLD, 0.0, "hold is not there yet"),
        (AdjustmentKind.RELEASE, 0.0, "no overlay is in force on run"),
    ],
)
def test_what_the_owner_does_not_allow_is_refused_in_words(kind: AdjustmentKind, value: float, words: str) -> None:
    c = control(max_lr=0.15)
    with pytest.raises(RefusedError) as refused:
        c.propose(kind, value, 0, "", "ann", at(5), dry=True)
    assert words in str(refused.value)


def test_an_operators_own_supersedes_a_proposal_but_not_what_is_on_its_way() -> None:
    c = control(Policy.APPROVE)
    c.consider(diagnosis(), at(20))
    own = c.propose(AdjustmentKind.SCALE, 0.7, 0, "", "ann", at(21), dry=False)
    assert [a.state for a in c.adjustments.values()] == [S.REFUSED, S.APPROVED]
    with pytest.raises(RefusedError, match=rf"{own.id} of run is under way \(approved\)"):
        c.propose(AdjustmentKind.SCALE, 0.7, 0, "", "ann", at(22), dry=False)


def test_release_ends_the_overlay() -> None:
    c = control()
    c.propose(AdjustmentKind.SCALE, 0.5, 0, "", "ann", at(5), dry=False)
    lay_on(c, 6)
    run_probation(c, replace(next(iter(c.adjustments.values())), over_steps=0), 3.0)
    release = c.propose(AdjustmentKind.RELEASE, 0.0, 0, "", "ann", at(50), dry=False)
    lay_on(c, 51)
    assert c.in_force == Overlay()
    c.observe(52, 3.0, at(52))
    assert (c.find(release.id).state, c.find(release.id).detail) == (S.KEPT, "the job is on its own schedule again")


def test_revert_goes_from_the_newest_back() -> None:
    c = control(Policy.OBSERVE)
    with pytest.raises(NotFoundError, match="no adjustment of run is in force"):
        c.revert("", "ann", "", at(1))
    ids = []
    for step, factor in ((5, 0.5), (50, 0.5)):
        ids.append(c.propose(AdjustmentKind.SCALE, factor, 0, "", "ann", at(step), dry=False).id)
        run_probation(c, replace(lay_on(c, step + 1), over_steps=0), 3.0)
    with pytest.raises(RefusedError, match="revert that one first"):
        c.revert(ids[0], "ann", "", at(90))
    for expected, left in ((ids[1], 0.5), (ids[0], 1.0)):
        taken = c.revert("", "ann", "", at(90))
        assert taken.id == expected
        with pytest.raises(RefusedError, match="being taken back already"):
            c.revert(expected, "ann", "", at(90))
        (command,) = c.take_commands()
        assert command.overlay == Overlay("factor", left)
        c.acknowledge(ack(command.adjustment_id, "applied", 91, left), at(91))
        assert (c.find(expected).state, c.in_force) == (S.REVERTED, Overlay("factor", left))


def test_a_job_that_refuses_is_quoted() -> None:
    c = control()
    c.consider(diagnosis(), at(20))
    (command,) = c.take_commands()
    c.acknowledge(ack(command.adjustment_id, "refused", -1, message="Adafactor ignores lr"), at(21))
    assert (c.find(command.adjustment_id).state, c.find(command.adjustment_id).detail) == (
        S.REFUSED,
        "Adafactor ignores lr",
    )
    assert c.in_force == Overlay()


def test_set_knows_its_factor_once_it_is_read_back() -> None:
    c = control(Policy.OBSERVE)
    own = c.propose(AdjustmentKind.SET, 0.05, 0, "", "ann", at(5), dry=False)
    assert math.isnan(own.total_factor)
    lay_on(c, 6)
    assert c.find(own.id).total_factor == pytest.approx(0.5)
