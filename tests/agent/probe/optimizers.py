"""Every optimizer that this torch ships, each with every implementation that it offers on a CPU.

Found by walking `torch.optim`, so that one which torch adds is there without anybody's doing. What torch itself refuses
on a CPU is in `REFUSED` with its words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

Make = Callable[[Any], torch.optim.Optimizer]

SWITCHES = (
    *("foreach", "fused", "capturable", "differentiable"),
    *("maximize", "amsgrad", "nesterov", "centered", "decoupled_weight_decay"),
)
"""Options that choose another implementation or another formula."""


def shipped() -> dict[str, type[torch.optim.Optimizer]]:
    """Every optimizer class of `torch.optim`."""
    found = {name: made for name, made in vars(torch.optim).items() if isinstance(made, type)}
    return {
        name: made
        for name, made in found.items()
        if issubclass(made, torch.optim.Optimizer) and made is not torch.optim.Optimizer
    }


def offered() -> dict[str, Make]:
    """Each class as it comes, with each switch that it has, by the names `Class` and `Class-switch`."""
    found: dict[str, Make] = {}

    def add(name: str, made: Any, **more: Any) -> None:
        found[name] = lambda params: made(params, **{"lr": 0.01, **more})

    for name, made in shipped().items():
        allowed = inspect.signature(made).parameters
        add(name, made)
        for switch in SWITCHES:
            if switch in allowed:
                add(f"{name}-{switch}", made, **{switch: True}, **({"momentum": 0.9} if switch == "nesterov" else {}))
        if "foreach" in allowed:
            add(f"{name}-for-loop", made, foreach=False)
        if "momentum" in allowed:
            add(f"{name}-momentum", made, momentum=0.9)
        if "weight_decay" in allowed:
            add(f"{name}-weight_decay", made, weight_decay=0.1)
        if "line_search_fn" in allowed:
            add(f"{name}-strong_wolfe", made, line_search_fn="strong_wolfe")
        if "Tensor" in str(allowed["lr"].annotation) and name != "SparseAdam":
            found[f"{name}-tensor-lr"] = lambda params, made=made: made(params, lr=torch.tensor(0.01))  # type: ignore[misc]
    return found


class Work:
    """Dropout, clipping, evaluation, a scheduler and a checkpoint, so that whatever moves is moved."""

    def __init__(self, name: str, make: Make) -> None:
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
        self.optimizer = make(list(self.model.parameters()))
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

    def train(self, steps: int = 40) -> list[torch.Tensor]:
        for step in range(steps):
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


def refusal(name: str, make: Make) -> str:
    """Why torch will not have it on a CPU; empty where it will."""
    try:
        Work(name, make).train(2)
    except (RuntimeError, ValueError, NotImplementedError, AssertionError) as error:
        return str(error).splitlines()[0]
    return ""


REFUSED = {name: words for name, make in offered().items() if (words := refusal(name, make))}
VARIANTS = {name: make for name, make in offered().items() if name not in REFUSED}
