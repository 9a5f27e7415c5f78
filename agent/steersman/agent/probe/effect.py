"""What a change of `param_groups["lr"]` does, by optimizer class: written is not effective."""

from __future__ import annotations

import os
from enum import Enum
from typing import Any, NamedTuple, Optional

import torch


class Effect(Enum):
    """What the next steps make of another LR."""

    EFFECTIVE = "effective"  # the next step uses it
    DELAYED = "delayed"  # the step after uses it
    NONE = "none"  # it changes nothing
    TRACE = "trace"  # it stays behind in the optimizer's state
    UNKNOWN = "unknown"  # nobody has looked


class Judgement(NamedTuple):
    """An effect, and what to tell a person who wants the LR changed."""

    effect: Effect
    words: str

    @property
    def allowed(self) -> bool:
        """Whether an overlay may be laid on."""
        return self.effect in (Effect.EFFECTIVE, Effect.DELAYED)


_EFFECTIVE = Judgement(Effect.EFFECTIVE, "effective")
_TABLE = {
    "torch.SGD": _EFFECTIVE,
    "torch.Adam": _EFFECTIVE,
    "torch.AdamW": _EFFECTIVE,
    "torch.NAdam": _EFFECTIVE,
    "torch.RAdam": _EFFECTIVE,
    "torch.Adamax": _EFFECTIVE,
    "torch.Adagrad": _EFFECTIVE,
    "torch.Adadelta": _EFFECTIVE,
    "torch.RMSprop": _EFFECTIVE,
    "torch.SparseAdam": _EFFECTIVE,
    "torch.Muon": _EFFECTIVE,
    # ASGD computes the rate of step t+1 from the LR it sees at step t.
    "torch.ASGD": Judgement(Effect.DELAYED, "effective"),
    "torch.Rprop": Judgement(Effect.NONE, "Rprop uses its learning rate for the first step only; nothing would change"),
    "torch.Adafactor": Judgement(
        Effect.NONE, "Adafactor takes the smaller of its learning rate and 1/sqrt(step); a change may do nothing"
    ),
    "torch.LBFGS": Judgement(
        Effect.UNKNOWN, "LBFGS evaluates its closure several times within a step; its learning rate is left alone"
    ),
    "transformers.Adafactor": Judgement(
        Effect.NONE, "Adafactor may compute its own step size; a change may do nothing"
    ),
    "schedulefree": Judgement(Effect.TRACE, "a schedule-free optimizer weighs its average by past learning rates"),
    "prodigyopt": Judgement(Effect.TRACE, "Prodigy estimates its own step size from past learning rates"),
}


def effect_of(optimizer: Any) -> Judgement:
    """Look an optimizer up; a subclass has the effect of the nearest class that is in the table."""
    for cls in type(optimizer).__mro__:
        package = cls.__module__.split(".", 1)[0]
        known = _TABLE.get(f"{package}.{cls.__name__}") or _TABLE.get(package)
        if known is not None:
            return known
    name = f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"
    return Judgement(Effect.UNKNOWN, f"{name} is not in the table of optimizers whose learning rate may be changed")


def replicas() -> Optional[str]:
    """Why a job of several ranks is not steered yet, or None where this process is the only one."""
    size = 1
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        size = distributed.get_world_size()
    elif os.environ.get("WORLD_SIZE", "").isdigit():
        size = int(os.environ["WORLD_SIZE"])
    if size <= 1:
        return None
    return (
        f"this job has {size} ranks and rank agreement is not there yet: a rank that steps with another learning rate "
        "would silently fork the replicas"
    )
