"""The adjustments of one attempt: the states they pass through, the commands that follow, what the job answers.

Plain classes that know neither gRPC nor asyncio; time and step are passed in, so that a replay decides the same.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace

from steersman.monitor.adjustment import (
    IN_FORCE,
    OPEN,
    TRANSITIONS,
    Acknowledgement,
    Adjustment,
    AdjustmentKind,
    AdjustmentState,
    Change,
    Command,
    Overlay,
    ReadBack,
)
from steersman.monitor.errors import NotFoundError, RefusedError

DECIDE_WITHIN_S = 600.0
APPLY_WITHIN_S = 600.0
OWN_RAMP_STEPS = 10
UNDO = ".undo"  # ends the id of the command that takes an adjustment back: acknowledgements carry nothing but the id

S = AdjustmentState


@dataclass(frozen=True)
class Moment:
    """When and under which learning rates something is decided.

    Attributes:
        step: last step of the job that is known; -1 before the first.
        time: what is written down as the time: that of the sample where the daemon decides by itself.
        clock: the daemon's clock; deadlines are counted on it, because clocks of hosts differ.
        own_lr: the job's own LR by group, as far as it is known.
    """

    step: int
    time: float
    clock: float
    own_lr: tuple[float, ...] = ()


@dataclass
class Docket:
    """All adjustments of one attempt, and the overlay that is in force.

    Attributes:
        job: name of the job.
        attempt_id: the attempt.
        adjustments: by id, in the order they were made.
        in_force: the overlay that the job was last seen to have, or is having laid on.
        counter: of the last command.
        made: adjustments that the daemon made alone and that were laid on.
        cut_step: step at which a cut of the LR was last laid on; None before the first.
        changes: state changes not yet written down; taken away by `take_changes`.
        commands: commands to send once the changes are durable; taken away by `take_commands`.
    """

    job: str
    attempt_id: str
    adjustments: dict[str, Adjustment] = field(default_factory=dict, kw_only=True)
    in_force: Overlay = field(default_factory=Overlay, kw_only=True)
    counter: int = field(default=0, kw_only=True)
    made: int = field(default=0, kw_only=True)
    cut_step: int | None = field(default=None, kw_only=True)
    changes: list[Change] = field(default_factory=list, kw_only=True)
    commands: list[Command] = field(default_factory=list, kw_only=True)

    def find(self, adjustment_id: str) -> Adjustment:
        """An adjustment by its id.

        Raises:
            NotFoundError: there is none.
        """
        adjustment = self.adjustments.get(adjustment_id)
        if adjustment is None:
            raise NotFoundError(f"{self.job} has no adjustment {adjustment_id}")
        return adjustment

    def open(self) -> Adjustment | None:
        """The one adjustment under way, if there is one."""
        return next((a for a in reversed(self.adjustments.values()) if a.state in OPEN), None)

    def waiting(self) -> int:
        """How many wait for a person."""
        return sum(a.state is S.PROPOSED for a in self.adjustments.values())

    def pending_commands(self, clock: float) -> list[Command]:
        """What an agent that has just opened the job must hear: what is on its way and not yet acknowledged as done."""
        commands = []
        for adjustment in self.adjustments.values():
            if adjustment.undo_counter and adjustment.state is not S.REVERTED:
                commands.append(self._command(adjustment, undo=True, expires_at=clock + APPLY_WITHIN_S))
            elif adjustment.state in (S.APPROVED, S.ARMED) or (
                adjustment.state is S.APPLIED and not adjustment.settled
            ):
                commands.append(self._command(adjustment))
        return commands

    def take_changes(self) -> list[Change]:
        """The state changes since the last call."""
        changes, self.changes = self.changes, []
        return changes

    def take_commands(self) -> list[Command]:
        """The commands since the last call."""
        commands, self.commands = self.commands, []
        return commands

    # ---------------------------------------------------------------- what the job answers

    def acknowledge(self, ack: Acknowledgement, now: Moment) -> Adjustment | None:
        """A rank says how a command fares. What is unknown or out of turn changes nothing.

        Returns:
            the adjustment, when it has just been laid on and the engine should hear of it.
        """
        undo = ack.adjustment_id.endswith(UNDO)
        adjustment = self.adjustments.get(ack.adjustment_id.removesuffix(UNDO))
        if adjustment is None:
            return None
        if undo:
            return self._undone(adjustment, ack, now)
        if ack.state == "armed":
            if adjustment.state is S.APPROVED:
                self._move(adjustment, S.ARMED, now, "probe", "the probe has it")
        elif ack.state in ("applied", "settled") and adjustment.counter:
            return self._laid_on(adjustment, ack, now)
        elif ack.state == "refused" and adjustment.state in (S.APPROVED, S.ARMED):
            self._move(adjustment, S.REFUSED, now, "job", ack.message or "refused by the job without a reason")
        return None

    # ---------------------------------------------------------------- inside

    def _make(
        self,
        kind: AdjustmentKind,
        value: float,
        overlay: Overlay,
        over_steps: int,
        by: str,
        reason: str,
        now: Moment,
        verdict: str = "",
    ) -> Adjustment:
        # From the attempt and the number, so that a daemon that was killed gives the same id when it decides again.
        name = hashlib.sha256(f"{self.attempt_id}/{len(self.adjustments) + 1}".encode()).hexdigest()[:10]
        return Adjustment(
            id=name,
            job=self.job,
            attempt_id=self.attempt_id,
            kind=kind,
            value=value,
            overlay=overlay,
            previous=self.in_force,
            total_factor=overlay.factor(math.nan),
            over_steps=over_steps,
            state=S.PROPOSED,
            by=by,
            reason=reason,
            created_at=now.time,
            created_step=now.step,
            changed_at=now.time,
            deadline=now.clock + DECIDE_WITHIN_S,
            verdict=verdict,
        )

    def _target(self, kind: AdjustmentKind, value: float) -> Overlay:
        if kind is AdjustmentKind.SET:
            return Overlay("value", value)
        if kind is AdjustmentKind.RELEASE:
            return Overlay()
        return self.in_force.scaled(value)

    def _approve(self, adjustment: Adjustment, by: str, now: Moment) -> Adjustment:
        self.counter += 1
        adjustment = replace(
            adjustment,
            approved_by=by,
            counter=self.counter,
            deadline=now.clock + APPLY_WITHIN_S,
            previous=self.in_force,
        )
        adjustment = self._move(adjustment, S.APPROVED, now, by, adjustment.detail or f"approved by {by}")
        self.commands.append(self._command(adjustment))
        return adjustment

    def _take_back(self, adjustment: Adjustment, by: str, reason: str, now: Moment) -> Adjustment:
        if adjustment.undo_counter:
            raise RefusedError(f"adjustment {adjustment.id} is being taken back already")
        self.counter += 1
        adjustment = replace(
            adjustment,
            undo_counter=self.counter,
            undo_by=by,
            undo_reason=reason,
            detail=f"being taken back: {reason}",
            deadline=0.0,
        )
        self.adjustments[adjustment.id] = adjustment
        self.commands.append(self._command(adjustment, undo=True, expires_at=now.clock + APPLY_WITHIN_S))
        return adjustment

    def _laid_on(self, adjustment: Adjustment, ack: Acknowledgement, now: Moment) -> Adjustment | None:
        adjustment = _with_read_back(adjustment, ack)
        if ack.lr and ack.own_lr and ack.own_lr[0] > 0 and adjustment.overlay.kind == "value":
            adjustment = replace(adjustment, total_factor=adjustment.overlay.factor(ack.own_lr[0]))
        first = adjustment.state in (S.APPROVED, S.ARMED, S.EXPIRED)
        if first:
            own = ack.own_lr[0] if ack.own_lr else math.nan
            self.in_force = adjustment.overlay
            adjustment = replace(adjustment, applied_step=ack.step, deadline=0.0)
            if not adjustment.own and adjustment.approved_by.startswith("policy"):
                self.made += 1
            adjustment = self._move(adjustment, S.APPLIED, now, "job", f"laid on at step {ack.step} and read back")
            if adjustment.overlay.factor(own) < adjustment.previous.factor(own):
                self.cut_step = ack.step
            if sum(a.state in OPEN for a in self.adjustments.values()) > 1:
                words = f"laid on at step {ack.step} after its time, while another was under way: not judged"
                adjustment = self._move(adjustment, S.KEPT, now, "daemon", words)
        if ack.state == "settled" and adjustment.state in IN_FORCE:
            adjustment = replace(adjustment, settled=True)
        if adjustment.state in IN_FORCE:
            self.adjustments[adjustment.id] = adjustment
        return adjustment if first else None

    def _undone(self, adjustment: Adjustment, ack: Acknowledgement, now: Moment) -> Adjustment | None:
        if adjustment.state is S.REVERTED and ack.state in ("applied", "settled"):
            # What the first rank said moved it; the others, and the end of the ramp, only tell the LRs.
            known = next((r.step for r in adjustment.ranks if r.rank == ack.rank), -1)
            if adjustment.undo_counter and ack.step >= known:
                self.adjustments[adjustment.id] = _with_read_back(adjustment, ack)
            return None
        if not adjustment.undo_counter or S.REVERTED not in TRANSITIONS[adjustment.state]:
            return None  # refused while the word to take it back was on its way
        if ack.state == "refused":
            detail = f"could not be taken back: {ack.message}"
            self.adjustments[adjustment.id] = replace(adjustment, undo_counter=0, detail=detail)
        elif ack.state in ("applied", "settled"):
            self.in_force = adjustment.previous
            adjustment = _with_read_back(adjustment, ack)
            return self._move(adjustment, S.REVERTED, now, adjustment.undo_by, adjustment.undo_reason)
        return None

    def _command(self, adjustment: Adjustment, *, undo: bool = False, expires_at: float = 0.0) -> Command:
        return Command(
            adjustment_id=adjustment.id + (UNDO if undo else ""),
            attempt_id=self.attempt_id,
            counter=adjustment.undo_counter if undo else adjustment.counter,
            expires_at=expires_at or adjustment.deadline,
            overlay=adjustment.previous if undo else adjustment.overlay,
            over_steps=min(adjustment.over_steps, OWN_RAMP_STEPS) if undo else adjustment.over_steps,
            reason=adjustment.undo_reason if undo else adjustment.reason,
            by=adjustment.undo_by if undo else adjustment.approved_by,
            undo=undo,
            by_operator=(adjustment.undo_by if undo else adjustment.approved_by).startswith("operator"),
        )

    def _move(self, adjustment: Adjustment, state: S, now: Moment, by: str, detail: str) -> Adjustment:
        if state not in TRANSITIONS[adjustment.state]:
            raise RefusedError(f"adjustment {adjustment.id} is {adjustment.state.value} and can't become {state.value}")
        deadline = adjustment.deadline if state in (S.APPROVED, S.ARMED) else 0.0
        moved = replace(adjustment, state=state, changed_at=now.time, detail=detail, deadline=deadline)
        self._record(moved, by, detail, now)
        return moved

    def _record(self, adjustment: Adjustment, by: str, reason: str, now: Moment) -> None:
        self.adjustments[adjustment.id] = adjustment
        parameters = {
            "value": adjustment.value,
            "overlay": {adjustment.overlay.kind: adjustment.overlay.number},
            "over_steps": adjustment.over_steps,
        }
        step = adjustment.applied_step if adjustment.state is S.APPLIED else now.step
        self.changes.append(Change(adjustment, adjustment.state.value, by, reason, step, now.time, parameters))


def _with_read_back(adjustment: Adjustment, ack: Acknowledgement) -> Adjustment:
    ranks = {r.rank: r for r in adjustment.ranks} | {ack.rank: ReadBack(ack.rank, ack.step, ack.lr)}
    return replace(adjustment, ranks=tuple(ranks[r] for r in sorted(ranks)))
