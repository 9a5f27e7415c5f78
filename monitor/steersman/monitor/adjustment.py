"""A change to a job's learning rate, and the states it may pass through."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


class AdjustmentState(enum.StrEnum):
    """Where an adjustment stands."""

    PROPOSED = "proposed"
    """Waits for a decision."""
    APPROVED = "approved"
    """Decided; on its way to the job."""
    ARMED = "armed"
    """The probe has it and will lay it on at its next step."""
    APPLIED = "applied"
    """In force, and read back from the optimizer on every rank."""
    PROBATION = "probation"
    """In force and being compared with the forecast of the untouched curve."""
    KEPT = "kept"
    """Probation passed, or there was nothing to compare."""
    REVERTED = "reverted"
    """Taken back."""
    REFUSED = "refused"
    """By the owner's limits, the agent, the probe or an approver; the detail says which."""
    EXPIRED = "expired"
    """Nobody decided, or it could not be laid on, in time."""


TRANSITIONS: Mapping[AdjustmentState, frozenset[AdjustmentState]] = {
    AdjustmentState.PROPOSED: frozenset({AdjustmentState.APPROVED, AdjustmentState.REFUSED, AdjustmentState.EXPIRED}),
    AdjustmentState.APPROVED: frozenset(
        {
            AdjustmentState.ARMED,
            AdjustmentState.APPLIED,  # a probe may lay it on before its ARMED has arrived
            AdjustmentState.REVERTED,
            AdjustmentState.REFUSED,
            AdjustmentState.EXPIRED,
        }
    ),
    AdjustmentState.ARMED: frozenset(
        {AdjustmentState.APPLIED, AdjustmentState.REVERTED, AdjustmentState.REFUSED, AdjustmentState.EXPIRED}
    ),
    AdjustmentState.APPLIED: frozenset({AdjustmentState.PROBATION, AdjustmentState.KEPT, AdjustmentState.REVERTED}),
    AdjustmentState.PROBATION: frozenset({AdjustmentState.KEPT, AdjustmentState.REVERTED}),
    AdjustmentState.KEPT: frozenset({AdjustmentState.REVERTED}),
    AdjustmentState.REVERTED: frozenset(),
    AdjustmentState.REFUSED: frozenset(),
    # A probe that laid it on in the last moment reports after the deadline: what is in force is never denied.
    AdjustmentState.EXPIRED: frozenset({AdjustmentState.APPLIED}),
}
"""From each state, the states that may follow. Nothing else ever happens to an adjustment."""

OPEN = frozenset(
    {
        AdjustmentState.PROPOSED,
        AdjustmentState.APPROVED,
        AdjustmentState.ARMED,
        AdjustmentState.APPLIED,
        AdjustmentState.PROBATION,
    }
)
"""States of an adjustment that is under way; a job has at most one such."""

IN_FORCE = frozenset({AdjustmentState.APPLIED, AdjustmentState.PROBATION, AdjustmentState.KEPT})
"""States of an adjustment that the optimizer feels."""


class AdjustmentKind(enum.StrEnum):
    """How an adjustment changes the job's learning rate."""

    SCALE = "scale"
    """`value` is a factor on what is in force now."""
    SET = "set"
    """`value` is the LR of the first group; other groups keep their ratio to it."""
    HOLD = "hold"
    """The effective LR stays what it is, whatever the job's scheduler does."""
    RELEASE = "release"
    """The overlay ends; the job is on its own schedule again."""


@dataclass(frozen=True)
class Overlay:
    """What lies over the job's own LR: a factor on every group, or the LR of the first group.

    Attributes:
        kind: "factor" or "value".
        number: as the kind says; a factor of 1 is no overlay.
    """

    kind: str = "factor"
    number: float = 1.0

    @property
    def absent(self) -> bool:
        """Whether the job is on its own schedule."""
        return self.kind == "factor" and self.number == 1.0

    def factor(self, own_lr: float) -> float:
        """The total factor on the job's own LR; NaN where a value meets an LR that is not known.

        >>> Overlay("value", 0.5).factor(own_lr=2.0)
        0.25
        """
        if self.kind == "factor":
            return self.number
        return self.number / own_lr if own_lr > 0 else math.nan

    def scaled(self, factor: float) -> Overlay:
        """The overlay that is `factor` times this one."""
        return Overlay(self.kind, self.number * factor)


@dataclass(frozen=True)
class ReadBack:
    """LRs read back from the optimizer of one rank: by parameter group, at the step they were in force."""

    rank: int
    step: int
    lr: tuple[float, ...]


@dataclass(frozen=True)
class Adjustment:
    """One adjustment; a change of state makes a new value.

    Attributes:
        id: unique in the daemon, the same again when a killed daemon comes to the same decision.
        job: name of the job.
        attempt_id: the attempt it is bound to.
        kind: see `AdjustmentKind`.
        value: as the kind says.
        overlay: what shall lie over the job's own LR, absolute.
        previous: what lay there before, to go back to.
        total_factor: factor on the job's own LR once fully laid on; NaN for `set` before it is applied.
        over_steps: length of the ramp; 0 is at once.
        state: see `AdjustmentState`.
        by: who asked: "policy auto", "operator NAME".
        reason: why, one sentence.
        created_at: seconds since the epoch; of the sample where the daemon proposes itself.
        created_step: last step known when it was made.
        changed_at: when it entered its state.
        deadline: when it expires in its present state, on the daemon's clock; 0 where it does not.
        applied_step: -1 until applied.
        ranks: what was read back.
        detail: why it stands where it stands, one sentence.
        verdict: the diagnosis it follows from; empty for an operator's own.
        approved_by: who decided; empty until then.
        counter: of its command; 0 until approved.
        undo_counter: of the command that takes it back; 0 where it is not being taken back.
        undo_by: who takes it back.
        undo_reason: why it is taken back.
        settled: whether the ramp is over.
        breaking: whether the job was breaking when the daemon asked for it.
    """

    id: str
    job: str
    attempt_id: str
    kind: AdjustmentKind
    value: float
    overlay: Overlay
    previous: Overlay
    total_factor: float
    over_steps: int
    state: AdjustmentState
    by: str
    reason: str
    created_at: float
    created_step: int
    changed_at: float
    deadline: float = 0.0
    applied_step: int = -1
    ranks: tuple[ReadBack, ...] = ()
    detail: str = ""
    verdict: str = ""
    approved_by: str = ""
    counter: int = 0
    undo_counter: int = 0
    undo_by: str = ""
    undo_reason: str = ""
    settled: bool = False
    breaking: bool = False

    @property
    def own(self) -> bool:
        """Whether an operator asked for it, rather than the daemon."""
        return self.by.startswith("operator")

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same value."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Adjustment:
        """Read what `to_json` wrote."""
        fields = dict(data)
        fields["kind"] = AdjustmentKind(fields["kind"])
        fields["state"] = AdjustmentState(fields["state"])
        fields["overlay"] = Overlay(**fields["overlay"])
        fields["previous"] = Overlay(**fields["previous"])
        fields["ranks"] = tuple(ReadBack(r["rank"], r["step"], tuple(r["lr"])) for r in fields["ranks"])
        return cls(**fields)


@dataclass(frozen=True)
class Command:
    """What the agent is told: the overlay that the job shall have. Absolute, so sending it twice changes nothing."""

    adjustment_id: str
    attempt_id: str
    counter: int
    expires_at: float
    overlay: Overlay
    over_steps: int
    reason: str
    by: str
    undo: bool
    by_operator: bool


@dataclass(frozen=True)
class Acknowledgement:
    """What a rank says of a command; `state` is "armed", "applied", "settled" or "refused"."""

    adjustment_id: str
    rank: int
    state: str
    step: int
    lr: tuple[float, ...]
    own_lr: tuple[float, ...]
    message: str
    time: float


@dataclass(frozen=True)
class Change:
    """One state change of an adjustment: what the ledger will hold."""

    adjustment: Adjustment
    state: str
    by: str
    reason: str
    step: int
    time: float
    parameters: Mapping[str, Any] = field(default_factory=dict)
