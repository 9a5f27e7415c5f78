"""Optimizers of others, as they work, and loops that do by hand what they do."""

from __future__ import annotations

from typing import Any

import torch
from tests.agent.probe.loops.loop import Loop


class ScheduleFree(torch.optim.Optimizer):
    """As schedule-free SGD works: what trains is a point between two sequences, and the LR weighs an average."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr, "beta": 0.9, "total": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["total"] += group["lr"] ** 2
            weight = group["lr"] ** 2 / group["total"]
            for param in group["params"]:
                state = self.state[param]
                if not state:
                    state["z"], state["x"] = param.clone(), param.clone()
                state["z"].sub_(param.grad, alpha=group["lr"])
                state["x"].lerp_(state["z"], weight)
                param.copy_(state["z"].lerp(state["x"], group["beta"]))


class Sam(torch.optim.Optimizer):
    """Sharpness-aware: climbs, has the closure evaluated there, comes back, and lets another optimizer step."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self.base = torch.optim.SGD(self.param_groups, lr=lr)
        self.param_groups = self.base.param_groups

    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            value = closure()
        params = [p for group in self.param_groups for p in group["params"]]
        with torch.no_grad():
            scale = 0.05 / (torch.nn.utils.get_total_norm([p.grad for p in params]) + 1e-12)
            climbed = [p.grad * scale for p in params]
            for param, up in zip(params, climbed, strict=True):
                param.add_(up)
        with torch.enable_grad():
            closure()
        with torch.no_grad():
            for param, up in zip(params, climbed, strict=True):
                param.sub_(up)
        self.base.step()
        return value


class Lookahead(torch.optim.Optimizer):
    """Wraps another optimizer, shares its groups, and pulls the weights back every fifth step."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__(inner.param_groups, {})
        self.inner = inner
        self.param_groups = inner.param_groups
        self.slow = [p.detach().clone() for group in self.param_groups for p in group["params"]]
        self.steps = 0

    def step(self, closure: Any = None) -> Any:
        value = self.inner.step(closure)
        self.steps += 1
        if self.steps % 5 == 0:
            params = [p for group in self.param_groups for p in group["params"]]
            with torch.no_grad():
                for slow, fast in zip(self.slow, params, strict=True):
                    slow.lerp_(fast, 0.5)
                    fast.copy_(slow)
        return value


class TwoStepSam(Loop):
    """Sharpness-aware as its best known implementation is used: two backward calls, then the one real step."""

    def round(self) -> None:
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        total = loss.item()
        with torch.no_grad():
            climbed = [p.grad * 0.01 for p in self.params if p.grad is not None]
            for param, up in zip(self.params, climbed, strict=True):
                param.add_(up)
        self.optimizer.zero_grad()
        self.count -= 1
        loss = self.loss()
        loss.backward()
        with torch.no_grad():
            for param, up in zip(self.params, climbed, strict=True):
                param.sub_(up)
        self.note(total + loss.item())
        self.optimizer.step()
