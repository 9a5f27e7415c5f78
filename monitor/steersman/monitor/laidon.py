"""What was laid on a job and taken off it, from what was written down of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from steersman.monitor import jsonfloat
from steersman.monitor.adjustment import Adjustment, AdjustmentState
from steersman.monitor.ledger import LedgerEntry
from steersman.monitor.store.contract import LedgerRecord


def laid_on(
    adjustments: Mapping[str, str], ledger: Sequence[LedgerRecord], own_lr: Callable[[int], float]
) -> list[tuple[int, float]]:
    """Each change of an overlay, in order: the step, and the factor that came on top of what was there.

    Args:
        adjustments: by id, their JSON.
        ledger: of one attempt.
        own_lr: the job's own LR at a step, NaN where it is not known.

    Raises:
        ValueError: what was written down is damaged.
    """
    found = []
    on: dict[str, float] = {}
    for record in ledger:
        entry = LedgerEntry.parse(record.body)
        known = adjustments.get(entry.adjustment_id)
        if entry.state == AdjustmentState.APPLIED and known is not None:
            adjustment, lr = Adjustment.from_json(jsonfloat.loads(known)), own_lr(entry.step)
            factor = adjustment.overlay.factor(lr) / adjustment.previous.factor(lr)
            on[adjustment.id] = factor
        elif entry.state == AdjustmentState.REVERTED and entry.adjustment_id in on:
            factor = 1.0 / on.pop(entry.adjustment_id)
        else:
            continue
        if not math.isnan(factor):
            found.append((entry.step, factor))
    return found
