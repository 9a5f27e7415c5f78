"""Why a learning rate is left alone although it was ordered to be changed."""

from __future__ import annotations

from typing import Optional

from .effect import replicas
from .orders import Order
from .ring import peek
from .steps import Steps


def hindrance(order: Order, steps: Steps) -> Optional[str]:
    """What about the job's optimizers stands in the way of an order, in words, or None."""
    ranks = replicas()
    if ranks is not None:
        return ranks
    if steps.in_backward:
        return "the optimizers step inside backward, where no two steps of a round share one moment"
    for seen in steps.stepping:
        optimizer = seen.ref()
        if optimizer is None:
            continue
        if not seen.judgement.allowed:
            return seen.judgement.words
        if seen.captured:
            return "the optimizer's step was captured in a graph, which replays the learning rate it was captured with"
        if order.value is not None and peek(optimizer.param_groups[0]["lr"]) is None:
            return "the learning rate is a tensor on a device: a value cannot be laid on it, a factor can"
    return None
