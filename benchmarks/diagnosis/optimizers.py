"""torch's optimizers over lanes: element by element, with a learning rate of its own for each lane.

The formulas are those of torch.optim's documentation with its defaults; `tests/benchmarks/diagnosis` holds each against
the original.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Rule(Protocol):
    """How one kind of optimizer moves weights of shape (lanes, scalars)."""

    def step(self, w: Tensor, g: Tensor, lr: Tensor, count: Tensor, state: list[Tensor]) -> None:
        """Move `w` in place; `lr` and `count`, steps including this one, have the shape (lanes, 1)."""


class SGD:
    """With momentum, Nesterov's or the usual, or without."""

    def __init__(self, momentum: float = 0.0, nesterov: bool = False) -> None:
        self.momentum = momentum
        self.nesterov = nesterov

    def step(self, w: Tensor, g: Tensor, lr: Tensor, count: Tensor, state: list[Tensor]) -> None:
        """See `Rule`."""
        del count
        if self.momentum:
            mean = state[0].mul_(self.momentum).add_(g)
            g = g.add(mean, alpha=self.momentum) if self.nesterov else mean
        w.addcmul_(g, lr, value=-1.0)


class Adam:
    """Adam, or with a weight decay AdamW."""

    def __init__(self, beta2: float = 0.999, decay: float = 0.0) -> None:
        self.beta2 = beta2
        self.decay = decay

    def step(self, w: Tensor, g: Tensor, lr: Tensor, count: Tensor, state: list[Tensor]) -> None:
        """See `Rule`."""
        if self.decay:
            w.mul_(1.0 - lr * self.decay)
        mean = state[0].lerp_(g, 0.1)
        square = state[1].mul_(self.beta2).addcmul_(g, g, value=1.0 - self.beta2)
        root = square.sqrt().div_((1.0 - self.beta2**count).sqrt()).add_(1e-8)
        w.addcmul_(mean / root, lr / (1.0 - 0.9**count), value=-1.0)


class RMSprop:
    """With momentum or without."""

    def __init__(self, momentum: float = 0.0) -> None:
        self.momentum = momentum

    def step(self, w: Tensor, g: Tensor, lr: Tensor, count: Tensor, state: list[Tensor]) -> None:
        """See `Rule`."""
        del count
        square = state[0].mul_(0.99).addcmul_(g, g, value=0.01)
        move = g / square.sqrt().add_(1e-8)
        if self.momentum:
            move = state[1].mul_(self.momentum).add_(move)
        w.addcmul_(move, lr, value=-1.0)


class Adamax:
    """As it comes."""

    def step(self, w: Tensor, g: Tensor, lr: Tensor, count: Tensor, state: list[Tensor]) -> None:
        """See `Rule`."""
        mean = state[0].lerp_(g, 0.1)
        top = torch.maximum(state[1].mul_(0.999), g.abs().add_(1e-8), out=state[1])
        w.addcmul_(mean / top, lr / (1.0 - 0.9**count), value=-1.0)


class Adagrad:
    """As it comes."""

    def step(self, w: Tensor, g: Tensor, lr: Tensor, count: Tensor, state: list[Tensor]) -> None:
        """See `Rule`."""
        del count
        total = state[0].addcmul_(g, g)
        w.addcmul_(g / total.sqrt().add_(1e-10), lr, value=-1.0)


class Adadelta:
    """As it comes."""

    def step(self, w: Tensor, g: Tensor, lr: Tensor, count: Tensor, state: list[Tensor]) -> None:
        """See `Rule`."""
        del count
        square, moved = state
        square.mul_(0.9).addcmul_(g, g, value=0.1)
        move = (moved + 1e-6).sqrt_().div_((square + 1e-6).sqrt_()).mul_(g)
        moved.mul_(0.9).addcmul_(move, move, value=0.1)
        w.addcmul_(move, lr, value=-1.0)


@dataclass(frozen=True)
class Optimizer:
    """One way to train.

    Attributes:
        name: short, as tables have it.
        class_name: of torch's class, as the probe would tell it.
        rule: how it moves weights.
        states: tensors of state a scalar.
        held_out: whether no rule may be tuned on it.
        school: whether only the judgement learns from it: it is in no table and no figure.
    """

    name: str
    class_name: str
    rule: Rule
    states: int
    held_out: bool = False
    school: bool = False

    def twin(self, params: list[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
        """The same optimizer of torch, for the check that ours is the same."""
        options: dict[str, object] = {"lr": lr}
        if self.name in ("sgdm", "nesterov", "rmspropm"):
            options["momentum"] = 0.9
        if self.name == "nesterov":
            options["nesterov"] = True
        if self.class_name == "AdamW":
            options["weight_decay"] = 0.1
        if self.name == "adamw95":
            options["betas"] = (0.9, 0.95)
        made: torch.optim.Optimizer = getattr(torch.optim, self.class_name)(params, **options)
        return made


OPTIMIZERS = {
    o.name: o
    for o in (
        Optimizer("sgd", "SGD", SGD(), 0),
        Optimizer("sgdm", "SGD", SGD(momentum=0.9), 1),
        Optimizer("adam", "Adam", Adam(), 2),
        Optimizer("adamw", "AdamW", Adam(decay=0.1), 2),
        Optimizer("rmsprop", "RMSprop", RMSprop(), 1),
        Optimizer("adagrad", "Adagrad", Adagrad(), 1, held_out=True),
        Optimizer("adadelta", "Adadelta", Adadelta(), 2, held_out=True),
        Optimizer("adamw95", "AdamW", Adam(beta2=0.95, decay=0.1), 2, held_out=True),
        Optimizer("nesterov", "SGD", SGD(momentum=0.9, nesterov=True), 1, school=True),
        Optimizer("rmspropm", "RMSprop", RMSprop(momentum=0.9), 2, school=True),
        Optimizer("adamax", "Adamax", Adamax(), 2, school=True),
    )
}
