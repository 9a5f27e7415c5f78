"""What a person is about to decide, in words: shown before anything is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steersman.cli import plan, views
from steersman.cli.render import what
from steersman.cli.words import number


@dataclass(frozen=True)
class Decision:
    """A question with one adjustment behind it.

    Attributes:
        verb: `approve`, `reject` or `revert`.
        done: the same once it has happened.
        adjustment: the one it is about.
        title: the question.
        lines: what will happen, a sentence each.
    """

    verb: str
    done: str
    adjustment: views.Adjustment
    title: str
    lines: tuple[str, ...]

    def outcome(self, adjustment: views.Adjustment) -> str:
        """What became of it, in one sentence: the daemon's own where that says it already."""
        word = self.done
        if self.verb != "reject" and adjustment.state in ("refused", "expired"):
            word = adjustment.state
        if word in adjustment.detail:
            return adjustment.detail
        return f"{word}: {adjustment.detail}" if adjustment.detail else word


def approval(job: views.Job, adjustments: Sequence[views.Adjustment]) -> Decision | None:
    """Approve the newest adjustment that waits; None where none does."""
    adjustment = plan.waiting(adjustments)
    if adjustment is None:
        return None
    lines = plan.plan_for(job, adjustment).sentences()
    why = (adjustment.reason,) if adjustment.reason else ()
    after = (
        "Every rank's LR is read back; then it is on probation, and taken back when the job does worse than foretold.",
    )
    return Decision(
        "approve", "approved", adjustment, f"Approve {_what(adjustment)} of {job.name}?", lines + why + after
    )


def rejection(job: views.Job, adjustments: Sequence[views.Adjustment]) -> Decision | None:
    """Reject the newest adjustment that waits; None where none does."""
    adjustment = plan.waiting(adjustments)
    if adjustment is None:
        return None
    lines = (
        f"The LR stays {number(job.lr)}. The job goes on as it is.",
        "The refusal is written to the ledger in your name.",
    )
    return Decision("reject", "rejected", adjustment, f"Reject {_what(adjustment)} of {job.name}?", lines)


def reversal(job: views.Job, adjustments: Sequence[views.Adjustment]) -> Decision | None:
    """Take back the newest adjustment in force; None where none is."""
    adjustment = plan.revertible(adjustments)
    if adjustment is None:
        return None
    lines = (
        *plan.plan_revert(job, adjustments, adjustment).sentences(),
        "What was in force before it is in force again.",
    )
    return Decision("revert", "taken back", adjustment, f"Take back {_what(adjustment)} of {job.name}?", lines)


def _what(adjustment: views.Adjustment) -> str:
    return what(adjustment.kind, adjustment.value, adjustment.over_steps)
