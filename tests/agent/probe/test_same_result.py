"""In observe mode the weights end the same to the bit, whatever trains them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.agent.probe.loops import LOOPS, ran
from torch.nn import functional

Make = Callable[[Any], torch.optim.Optimizer]


def shipped() -> dict[str, type[torch.optim.Optimizer]]:
    """Every optimizer that this torch has."""
    found = {name: made for name, made in vars(torch.optim).items() if isinstance(made, type)}
    return {name: made for name, made in found.items() if issubclass(made, torch.optim.Optimizer)}


def variants() -> dict[str, Make]:
    """Each with every implementation that it offers on a CPU."""
    found: dict[str, Make] = {}
    for name, made in shipped().items():
        if name == "Optimizer":
            continue
        allowed = inspect.signature(made).parameters
        found[name] = lambda params, made=made: made(params, lr=0.01)  # type: ignore[misc]
        for option in ("foreach", "fused", "maximize", "amsgrad", "nesterov", "centered"):
            if option in allowed:
                more: dict[str, Any] = {option: True}
                if option == "nesterov":
                    more["momentum"] = 0.9
                found[f"{name}-{option}"] = lambda params, made=made, more=more: made(params, lr=0.01, **more)  # type: ignore[misc]
        if "foreach" in allowed:
            found[f"{name}-for-loop"] = lambda params, made=made: made(params, lr=0.01, foreach=False)  # type: ignore[misc]
        if "Tensor" in str(allowed["lr"].annotation) and name != "SparseAdam":
            found[f"{name}-tensor-lr"] = lambda params, made=made: made(params, lr=torch.tensor(0.01))  # type: ignore[misc]
    return found


VARIANTS = variants()


class Work:
    """Dropout, clipping, evaluation, a scheduler and a checkpoint, so that whatever moves is moved."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        self.sparse = name.startswith("SparseAdam")
        self.model: Any
        if self.sparse:
            self.model = torch.nn.EmbeddingBag(16, 4, sparse=True, mode="sum")
        else:
            # Muon takes matrices only.
            bias = not name.startswith("Muon")
            self.model = torch.nn.Sequential(
                torch.nn.Linear(8, 16, bias=bias), torch.nn.Dropout(0.2), torch.nn.Linear(16, 1, bias=bias)
            )
        self.optimizer = VARIANTS[name](list(self.model.parameters()))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.99**step)
        self.closure = name.startswith("LBFGS")

    def loss(self) -> torch.Tensor:
        if self.sparse:
            return functional.mse_loss(self.model(torch.randint(0, 16, (8, 3))), torch.ones(8, 4))
        return functional.mse_loss(self.model(torch.randn(16, 8)), torch.ones(16, 1))

    def backward(self) -> Any:
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        return loss

    def train(self) -> list[torch.Tensor]:
        for step in range(40):
            if self.closure:
                self.optimizer.step(self.backward)
            else:
                self.backward()
                if step % 2 and not self.sparse:
                    torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
                self.optimizer.step()
            self.schedule.step()
            if step % 10 == 0:
                with torch.no_grad():
                    self.loss()
                self.optimizer.load_state_dict(self.optimizer.state_dict())
        return [p.detach().clone() for p in self.model.parameters()]

    def state(self) -> list[torch.Tensor]:
        """What the optimizer remembers."""
        found = [value for state in self.optimizer.state.values() for value in state.values()]
        return [value.clone() for value in found if isinstance(value, torch.Tensor)]


def test_the_walk_finds_what_torch_ships() -> None:
    assert {"SGD", "Adam", "AdamW", "LBFGS", "SparseAdam", "Rprop", "ASGD", "Adafactor"} <= set(shipped())
    assert {"Adam-fused", "SGD-foreach", "AdamW-tensor-lr"} <= set(VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_are_the_same_to_the_bit(name: str, start: Any, receiver: Any) -> None:
    bare = Work(name)
    weights = bare.train()
    draw = torch.rand(4)
    probe = start()
    watched = Work(name)
    assert all(torch.equal(a, b) for a, b in zip(weights, watched.train(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(bare.state(), watched.state(), strict=True))
    assert torch.equal(torch.rand(4), draw), "the job's random numbers have moved"
    probe.close()
    assert len(receiver.take().rows) == 40
    assert probe.failures == 0
    assert all(torch.isfinite(weight).all() for weight in weights)


@pytest.mark.parametrize("name", LOOPS)
def test_every_way_of_training_ends_the_same_to_the_bit(name: str, start: Any, receiver: Any) -> None:
    bare = ran(LOOPS[name]).weights()
    start()
    watched = ran(LOOPS[name]).weights()
    assert all(torch.equal(a, b) for a, b in zip(bare, watched, strict=True))
