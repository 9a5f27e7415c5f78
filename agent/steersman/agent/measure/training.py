"""The jobs that are measured: small enough to be everywhere, and like what people train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from steersman.agent.measure.clock import Clock, clock_for

WARM = 10
"""Steps before those that count, in each block: a probe has just been put in, and caches are cold."""
_MOST = {"mlp": 1 << 16, "transformer": 1 << 12}


@dataclass(frozen=True)
class Case:
    """One job to measure on.

    Attributes:
        name: for people and for JSON.
        model: `mlp`, three layers, or `transformer`, two.
        batch: examples a step.
        block: steps that count in a block; whole tens, for the direction is taken every ten steps.
    """

    name: str
    model: str
    batch: int
    block: int


CASES = {"small": Case("small", "mlp", 256, 40), "large": Case("large", "transformer", 16, 20)}
"""A step of about 1 ms and one of about 20 ms, on one core of the machines that we have."""


class Training:
    """A model, its optimizer and a batch; the same to the bit each time it is made."""

    def __init__(self, case: Case, device: str) -> None:
        torch.manual_seed(0)
        self.case = case
        model: torch.nn.Module
        if case.model == "mlp":
            model = torch.nn.Sequential(
                torch.nn.Linear(32, 64),
                torch.nn.ReLU(),
                torch.nn.Linear(64, 64),
                torch.nn.ReLU(),
                torch.nn.Linear(64, 1),
            )
            inputs = torch.randn(case.batch, 32)
        else:
            layer = torch.nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
            encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            model = torch.nn.Sequential(encoder, torch.nn.Flatten(), torch.nn.Linear(64 * 64, 1))
            inputs = torch.randn(case.batch, 64, 64)
        self.model = model.to(device)
        self.inputs = inputs.to(device)
        self.targets = self.inputs.flatten(1).mean(1, keepdim=True)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)

    def step(self) -> torch.Tensor:
        """One step, as any script makes it."""
        self.optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(self.model(self.inputs), self.targets)
        loss.backward()
        self.optimizer.step()
        return loss

    def weights(self) -> list[torch.Tensor]:
        """The weights as they are."""
        return [param.detach().clone() for param in self.model.parameters()]


def run_block(training: Training, clock: Clock, after: Callable[[torch.Tensor], object] | None = None) -> list[float]:
    """Seconds of each step of one block.

    Args:
        training: what steps.
        clock: what times it.
        after: called with the loss after each step and counted as part of it: what a tracker does.
    """
    for index in range(WARM + training.case.block):
        if index == WARM:
            clock.mark()
        loss = training.step()
        if after is not None:
            after(loss)
        if index >= WARM:
            clock.mark()
    return clock.seconds()


def typical_step(case: Case, device: str) -> float:
    """Seconds that a step of a case takes, roughly."""
    training, clock = Training(case, device), clock_for(device)
    for _ in range(5):
        training.step()
    # A clock that is read waits for what went before.
    clock.mark()
    clock.seconds()
    clock.mark()
    for _ in range(7):
        training.step()
        clock.mark()
    return sorted(clock.seconds())[3]


def fitted(milliseconds: float, device: str, name: str = "") -> Case:
    """A case whose step takes about as long as asked for, by the size of its batch.

    What cannot be reached is not: the step that was measured is told with every figure.
    """
    case = replace(CASES["small" if milliseconds < 5 else "large"], name=name or f"{milliseconds:g} ms")
    for _ in range(4):
        share = milliseconds / 1e3 / typical_step(case, device)
        batch = max(1, min(round(case.batch * share), _MOST[case.model]))
        if 0.8 < share < 1.25 or batch == case.batch:
            break
        case = replace(case, batch=batch)
    return case
