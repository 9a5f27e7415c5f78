"""What is done about a job's learning rate: by the daemon under its policy, by operators, within the owner's limits.

Plain classes that know neither gRPC nor asyncio; time and step are passed in, so that a replay decides the same.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from steersman.monitor.adjustment import (
    IN_FORCE,
    Adjustment,
    AdjustmentKind,
    AdjustmentState,
    Overlay,
)
from steersman.monitor.docket import OWN_RAMP_STEPS, Docket, Moment
from steersman.monitor.errors import NotFoundError, RefusedError
from steersman.monitor.limits import Limits
from steersman.monitor.probation import Expectation, Judgement, Probation
from steersman.rules.lr_memory import above
from steersman.rules.verdict import Diagnosis, Verdict

S = AdjustmentState
UNSTABLE = frozenset({Verdict.DIVERGED, Verdict.NONFINITE, Verdict.LR_TOO_HIGH})


class Policy(enum.StrEnum):
    """What the daemon may do alone. It restrains the daemon, never an operator."""

    OBSERVE = "observe"
    """Looks, and says in the diagnosis what it would do."""
    ADVISE = "advise"
    """Proposes, and leaves it at that."""
    APPROVE = "approve"
    """Proposes, and acts when a person says yes."""
    AUTO = "auto"
    """Acts within the limits of the job's owner."""


@dataclass
class Control(Docket):
    """The adjustments of one attempt, and who decides on them: the daemon under its policy, and people.

    Attributes:
        policy: see `Policy`.
        limits: see `Limits`.
        acted_step: step of the last adjustment of the daemon's own; None before the first.
        aim: the LR that was recommended when the daemon last acted; None where none was.
        unstable_after_cut: instabilities that fired after a cut, at an LR no higher than what was aimed at.
        probation: what is being compared, if anything.
    """

    policy: Policy = Policy.OBSERVE
    limits: Limits = field(default_factory=Limits)
    acted_step: int | None = None
    aim: float | None = None
    unstable_after_cut: int = 0
    probation: Probation | None = None

    # ---------------------------------------------------------------- what the daemon does by itself

    @property
    def exhausted(self) -> str:
        """Why the daemon no longer prescribes an LR for this attempt; empty while it does."""
        if self.unstable_after_cut >= 2:
            return (
                "it became unstable twice after the learning rate was cut, so the learning rate is not the whole "
                "cause: look at the data, the precision and the initialisation"
            )
        if self.made >= self.limits.max_adjustments:
            return f"the {self.limits.max_adjustments} adjustments that the owner allows Steersman alone are used up"
        return ""

    def temper(self, diagnosis: Diagnosis) -> Diagnosis:
        """The diagnosis as it may be said: without a prescription once the daemon has nothing more to prescribe."""
        why = self.exhausted
        if diagnosis.prescription is None or not why:
            return diagnosis
        return replace(
            diagnosis,
            prescription=None,
            evidence_against=(
                *diagnosis.evidence_against,
                f"no further change of the learning rate is proposed: {why}",
            ),
        )

    def consider(self, diagnosis: Diagnosis, now: Moment, *, breaking: bool = False) -> None:
        """Propose what a diagnosis prescribes, as far as policy and limits let the daemon.

        Args:
            diagnosis: with its prescription.
            now: the last row.
            breaking: whether a critical finding fires.
        """
        prescription = diagnosis.prescription
        if prescription is None or self.policy is Policy.OBSERVE or self.exhausted or self.open() is not None:
            return
        if self._too_soon(diagnosis.verdict, now.step):
            return
        kind = AdjustmentKind(prescription.kind.value)
        overlay = self._target(kind, prescription.value)
        objection = self.limits.objection(overlay, now.own_lr)
        if objection:
            overlay = self._within(overlay, now.own_lr)
            now_factor = self.in_force.factor(now.own_lr[0] if now.own_lr else math.nan)
            least_change = abs(math.log(overlay.number / now_factor)) if now_factor > 0 and overlay.number > 0 else 0.0
            if overlay.kind != "factor" or least_change < 0.05 or self.limits.objection(overlay, now.own_lr):
                return
        adjustment = self._make(
            kind,
            prescription.value,
            overlay,
            prescription.over_steps or OWN_RAMP_STEPS,
            f"policy {self.policy.value}",
            prescription.reason,
            now,
            verdict=diagnosis.verdict.value,
        )
        adjustment = replace(adjustment, breaking=breaking)
        if objection:
            adjustment = replace(adjustment, detail=f"held to the owner's limits: {objection}")
        self.acted_step = now.step
        self.aim = None if diagnosis.recommended_lr is None else diagnosis.recommended_lr.value
        self._record(adjustment, adjustment.by, adjustment.reason, now)
        if self.policy is Policy.AUTO:
            self._approve(adjustment, "policy auto", now)

    def note_instability(self, rule: str, verdict: str, first_step: int, now: Moment) -> None:
        """A rule fired anew: judge what is on probation, and count what a cut did not cure."""
        if verdict not in UNSTABLE:
            return
        lr = now.own_lr[0] * self.in_force.factor(now.own_lr[0]) if now.own_lr else None
        if self.cut_step is not None and first_step > self.cut_step and not above(lr, self.aim):
            self.unstable_after_cut += 1
        hopeless = verdict in (Verdict.DIVERGED, Verdict.NONFINITE)
        if self.probation is not None and hopeless and first_step > self.probation.from_step:
            self._judge(self.probation.diverged(rule, first_step), now)

    def observe(self, step: int, loss: float, now: Moment) -> None:
        """Take one row of the lead rank in: a ramp that ends, a probation that goes on.

        The row decides, not the acknowledgement that the ramp is over: rows come in the same order after a restart.
        """
        latest = next((a for a in reversed(self.adjustments.values()) if a.state in (S.APPLIED, S.PROBATION)), None)
        if latest is None or latest.undo_counter or step <= latest.applied_step + latest.over_steps:
            return
        if latest.state is S.APPLIED:
            if self.probation is None:
                self._move(latest, S.KEPT, now, "daemon", "the job is on its own schedule again")
                return
            words = f"compared for {self.probation.points} steps with what was foretold without it"
            self._move(latest, S.PROBATION, now, "daemon", words)
        if self.probation is not None:
            judgement = self.probation.observe(step, loss)
            if judgement is not None:
                self._judge(judgement, now)

    def tick(self, clock: float, step: int, ended: float | None = None) -> None:
        """Let expire what nobody decided or what could not be laid on in time, or before the job ended.

        Args:
            clock: the daemon's clock now.
            step: last step of the job.
            ended: when the job ended; None where it has not.
        """
        for adjustment in list(self.adjustments.values()):
            if ended is not None and adjustment.state in (S.PROPOSED, S.APPROVED, S.ARMED):
                words = "anybody decided" if adjustment.state is S.PROPOSED else "it could be laid on"
                now = Moment(step, ended, clock)
                self._move(adjustment, S.EXPIRED, now, "daemon", f"the job ended before {words}")
            elif adjustment.deadline and clock > adjustment.deadline:
                now = Moment(step, clock, clock)
                if adjustment.state is S.PROPOSED:
                    self._move(adjustment, S.EXPIRED, now, "daemon", "nobody decided within ten minutes")
                elif adjustment.state in (S.APPROVED, S.ARMED):
                    self._move(adjustment, S.EXPIRED, now, "daemon", "it could not be laid on within ten minutes")

    # ---------------------------------------------------------------- what people do

    def propose(
        self, kind: AdjustmentKind, value: float, over_steps: int, reason: str, operator: str, now: Moment, *, dry: bool
    ) -> Adjustment:
        """An operator's own adjustment: approved by being asked for, under any policy, within the owner's limits.

        Raises:
            RefusedError: the limits or the state of things forbid it.
        """
        if kind is AdjustmentKind.HOLD:
            raise RefusedError(
                "hold is not there yet; `set` with the present learning rate does the same for a constant schedule"
            )
        if kind in (AdjustmentKind.SCALE, AdjustmentKind.SET) and not (math.isfinite(value) and value > 0):
            raise RefusedError(f"{kind.value} needs a positive number, not {value:g}")
        if kind is AdjustmentKind.RELEASE and self.in_force.absent and self.open() is None:
            raise RefusedError(f"no overlay is in force on {self.job}: it is on its own schedule already")
        overlay = self._target(kind, value)
        objection = self.limits.objection(overlay, now.own_lr)
        if objection:
            raise RefusedError(f"{objection} (the limits of {self.job} are set by its owner when it is started)")
        busy = self.open()
        if busy is not None and busy.state not in (S.PROPOSED, S.PROBATION):
            raise RefusedError(
                f"adjustment {busy.id} of {self.job} is under way ({busy.state.value}); wait for it, or revert it first"
            )
        adjustment = self._make(kind, value, overlay, over_steps, f"operator {operator}", reason, now)
        if dry:
            return replace(adjustment, detail="dry run: nothing was done")
        if busy is not None and busy.state is S.PROPOSED:
            self._move(
                busy, S.REFUSED, now, adjustment.by, f"superseded by the operator's own adjustment {adjustment.id}"
            )
        elif busy is not None:
            self.probation = None
            self._move(
                busy, S.KEPT, now, adjustment.by, f"not judged: adjustment {adjustment.id} came before probation ended"
            )
        self._record(adjustment, adjustment.by, reason, now)
        return self._approve(adjustment, adjustment.by, now)

    def approve(self, adjustment_id: str, operator: str, now: Moment) -> Adjustment:
        """A person says yes to a proposal.

        Raises:
            NotFoundError: there is no such adjustment.
            RefusedError: it does not wait for a decision, or the limits forbid it by now.
        """
        adjustment = self.find(adjustment_id)
        if adjustment.state is not S.PROPOSED:
            raise RefusedError(
                f"adjustment {adjustment_id} does not wait for a decision: it is {adjustment.state.value}"
            )
        objection = self.limits.objection(adjustment.overlay, now.own_lr)
        if objection:
            raise RefusedError(f"adjustment {adjustment_id} can't be laid on any more: {objection}")
        return self._approve(adjustment, f"operator {operator}", now)

    def reject(self, adjustment_id: str, operator: str, reason: str, now: Moment) -> Adjustment:
        """A person says no to a proposal.

        Raises:
            NotFoundError: there is no such adjustment.
            RefusedError: it does not wait for a decision.
        """
        adjustment = self.find(adjustment_id)
        if adjustment.state is not S.PROPOSED:
            raise RefusedError(
                f"adjustment {adjustment_id} does not wait for a decision: it is {adjustment.state.value}"
            )
        who = f"operator {operator}"
        return self._move(adjustment, S.REFUSED, now, who, f"rejected by {who}" + (f": {reason}" if reason else ""))

    def revert(self, adjustment_id: str, operator: str, reason: str, now: Moment) -> Adjustment:
        """A person takes an adjustment back; the newest in force where no id is given.

        Raises:
            NotFoundError: there is no such adjustment, or none in force.
            RefusedError: it is not in force, or a newer one is.
        """
        going = [a for a in self.adjustments.values() if a.state in IN_FORCE or a.state in (S.APPROVED, S.ARMED)]
        if not adjustment_id and not going:
            raise NotFoundError(f"no adjustment of {self.job} is in force")
        adjustment = self.find(adjustment_id) if adjustment_id else going[-1]
        if adjustment not in going:
            raise RefusedError(f"adjustment {adjustment.id} is not in force: it is {adjustment.state.value}")
        if adjustment is not going[-1]:
            raise RefusedError(f"a newer adjustment, {going[-1].id}, lies over {adjustment.id}: revert that one first")
        return self._take_back(adjustment, f"operator {operator}", reason or "an operator asked for it", now)

    # ---------------------------------------------------------------- what is compared and kept

    def put_on_probation(
        self, adjustment_id: str, expected: Expectation, points: int, *, breaking: bool = False
    ) -> None:
        """Register what was foretold of the untouched curve, when an adjustment was laid on.

        Args:
            adjustment_id: which.
            expected: see `Expectation`.
            points: how long it lasts.
            breaking: whether a critical finding fires.
        """
        adjustment = self.adjustments[adjustment_id]
        if adjustment.state is not S.APPLIED or adjustment.kind is AdjustmentKind.RELEASE:
            return
        raising = adjustment.total_factor > self._factor_before(adjustment)
        end_of_ramp = adjustment.applied_step + adjustment.over_steps
        spared = not raising and (adjustment.breaking or breaking)
        self.probation = Probation(adjustment_id, raising, end_of_ramp, points, expected, spared)

    def to_json(self) -> dict[str, Any]:
        """What has to be stored beside the adjustments."""
        return {
            "policy": self.policy.value,
            "limits": self.limits.__dict__,
            "in_force": self.in_force.__dict__,
            "counter": self.counter,
            "made": self.made,
            "acted_step": self.acted_step,
            "cut_step": self.cut_step,
            "aim": self.aim,
            "unstable_after_cut": self.unstable_after_cut,
            "probation": self.probation.to_json() if self.probation else None,
        }

    @classmethod
    def from_json(
        cls, job: str, attempt_id: str, data: Mapping[str, Any], adjustments: Sequence[Adjustment]
    ) -> Control:
        """Go on where another daemon stopped."""
        ordered = sorted(adjustments, key=lambda a: (a.created_step, a.created_at, a.counter))
        return cls(
            job,
            attempt_id,
            Policy(data["policy"]),
            Limits(**data["limits"]),
            data["acted_step"],
            data.get("aim"),
            data["unstable_after_cut"],
            Probation.from_json(data["probation"]) if data["probation"] else None,
            adjustments={a.id: a for a in ordered},
            in_force=Overlay(**data["in_force"]),
            counter=data["counter"],
            made=data["made"],
            cut_step=data["cut_step"],
        )

    # ---------------------------------------------------------------- inside

    def _too_soon(self, verdict: Verdict, step: int) -> bool:
        if self.acted_step is None:
            return False
        alone = [a for a in self.adjustments.values() if not a.own]
        last = alone[-1] if alone else None
        wait = self.limits.cooldown_steps
        if last is not None and last.state is S.REFUSED and last.verdict == verdict:
            wait *= 5  # a person or the job said no to just this: it is not asked again and again
        elif last is not None and last.state in IN_FORCE and verdict in (Verdict.DIVERGED, Verdict.NONFINITE):
            # There is nothing to wait for in a run that diverges, but what nobody approves the job would refuse.
            wait = wait if self.policy is Policy.AUTO else 0
        # The job counts from the step at which an adjustment was laid on, not from that at which it was asked for.
        since = max(self.acted_step, *(a.applied_step for a in alone), -1)
        return step - since < wait

    def _within(self, overlay: Overlay, own_lr: Sequence[float]) -> Overlay:
        factor = overlay.factor(own_lr[0] if own_lr else math.nan)
        return Overlay("factor", min(max(factor, self.limits.min_factor), self.limits.max_factor))

    def _judge(self, judgement: Judgement, now: Moment) -> None:
        assert self.probation is not None
        adjustment = self.adjustments[self.probation.adjustment_id]
        self.probation = None
        if judgement.keep:
            if adjustment.state is S.APPLIED:  # judged before its ramp was over
                adjustment = self._move(adjustment, S.PROBATION, now, "daemon", "judged before the ramp was over")
            self._move(adjustment, S.KEPT, now, "daemon", judgement.words)
        elif adjustment.own and self.policy is not Policy.AUTO:
            # The policy restrains the daemon: what a person did under it is judged, said, and left to that person.
            if adjustment.state is S.APPLIED:
                adjustment = self._move(adjustment, S.PROBATION, now, "daemon", "judged before the ramp was over")
            words = (
                f"{judgement.words}; left in force because an operator asked for it: `steersman revert {adjustment.id}`"
            )
            self._move(adjustment, S.KEPT, now, "daemon", words)
        else:
            self._take_back(adjustment, "daemon", judgement.words, now)

    def _take_back(self, adjustment: Adjustment, by: str, reason: str, now: Moment) -> Adjustment:
        adjustment = super()._take_back(adjustment, by, reason, now)
        if self.probation is not None and self.probation.adjustment_id == adjustment.id:
            self.probation = None
        return adjustment

    def _factor_before(self, adjustment: Adjustment) -> float:
        own = adjustment.overlay.number / adjustment.total_factor if adjustment.overlay.kind == "value" else math.nan
        return adjustment.previous.factor(own)
