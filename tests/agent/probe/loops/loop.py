"""A training loop as people write it, and what a careful author would have logged of it.

A loop knows nothing of Steersman. Each round notes one `Truth` for each sample that is to arrive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import torch
from torch.nn import functional


class Truth(NamedTuple):
    """What one sample has to say; None where it is not to be told."""

    loss: float | None
    norm: float | None
    lrs: tuple[float, ...]


def norm_of(params: Iterable[torch.Tensor], scale: float = 1.0) -> float:
    """The norm over the gradients that are there, as anybody would compute it."""
    squares = 0.0
    for param in params:
        if param.grad is not None:
            grad = param.grad.detach()
            grad = grad.coalesce().values() if grad.is_sparse else grad
            squares += float(grad.double().pow(2).sum())
    return math.sqrt(squares) / scale


def lrs_of(*optimizers: Any) -> tuple[float, ...]:
    return tuple(float(group["lr"]) for optimizer in optimizers for group in optimizer.param_groups)


Some = TypeVar("Some", bound="Loop")


class Loop:
    """A small regression."""

    norm_known = True  # whether a sample without a norm is a fault

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(256, 8, generator=generator)
        self.targets = self.inputs.sin().sum(1, keepdim=True)
        torch.manual_seed(seed)
        self.model: Any = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
        self.count = 0
        self.truth: list[Truth] = []
        self.optimizer: Any = None
        self.prepare()

    @property
    def params(self) -> list[torch.Tensor]:
        return list(self.model.parameters())

    def prepare(self) -> None:
        self.optimizer = torch.optim.SGD(self.params, lr=0.05)

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        start = self.count * 16 % 256
        self.count += 1
        return self.inputs[start : start + 16], self.targets[start : start + 16]

    def loss(self, model: Any = None) -> torch.Tensor:
        inputs, targets = self.batch()
        return functional.mse_loss((model or self.model)(inputs), targets)

    def note(self, loss: Any, *optimizers: Any, scale: float = 1.0) -> None:
        """Call it right before the step that the sample is about."""
        chosen = optimizers or (self.optimizer,)
        params = [p for optimizer in chosen for group in optimizer.param_groups for p in group["params"]]
        value = loss.item() if isinstance(loss, torch.Tensor) else loss
        self.truth.append(Truth(value, norm_of(params, scale), lrs_of(*chosen)))

    def round(self) -> None:
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.note(loss)
        self.optimizer.step()

    def weights(self) -> list[torch.Tensor]:
        return [p.detach().clone() for p in self.params]


class Plain(Loop):
    """The loop of every tutorial, with another optimizer."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make
        super().__init__()

    def prepare(self) -> None:
        self.optimizer = self._make(self.params)


def ran(make: Callable[[], Some], rounds: int = 24) -> Some:
    """A loop that has been run for so many rounds."""
    loop = make()
    for _ in range(rounds):
        loop.round()
    return loop


def pairs(loop: Loop, rows: list[dict[str, float]]) -> Iterator[tuple[Truth, dict[str, float]]]:
    """Each sample's truth beside what arrived."""
    assert len(rows) == len(loop.truth), f"{len(rows)} samples arrived, {len(loop.truth)} steps were made"
    return zip(loop.truth, rows, strict=True)
