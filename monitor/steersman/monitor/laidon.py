"""What was laid on a job and taken off it, from what was written down of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence

from steersman.monitor.adjustment import Adjustment, AdjustmentState
from steersman.monitor.store.contract import LedgerRecord


def laid_on(
    adjustments: Mapping[str, str], ledger: Sequence[LedgerRecord], own_lr: Callable[[int], float]
) -> list[tuple[int, float]]:
    """Each change of an overlay, in order: the step, and the factor that came on top of what was there.

    Args:
        adjustments: by id, their JSON.
        ledger: of one attempt.
        own_lr: the job's own LR at a step, NaN where it is not known.
    """
    found = []
    on: dict[str, float] = {}
    for record in ledger:
        said = json.loads(record.body)
        known, state, step = adjustments.get(said["adjustment_id"]), said["state"], said["step"]
        if known is None:
            continue
        if state == AdjustmentState.APPLIED:
            adjustment, lr = Adjustment.from_json(json.loads(known)), own_lr(step)
            factor = adjustment.overlay.factor(lr) / adjustment.previous.factor(lr)
            on[adjustment.id] = factor
        elif state == AdjustmentState.REVERTED and said["adjustment_id"] in on:
            factor = 1.0 / on.pop(said["adjustment_id"])
        else:
            continue
        found.append((step, factor))
    return [(step, factor) for step, factor in found if not math.isnan(factor)]
