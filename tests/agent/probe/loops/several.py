"""Several optimizers or parameter groups."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from tests.agent.probe.loops.loop import Loop, Truth, lrs_of, norm_of
from torch.nn import functional


class Gan(Loop):
    """Two networks, two optimizers, a step of one and then a step of the other."""

    def prepare(self) -> None:
        self.critic = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.001)
        self.second = torch.optim.Adam(self.critic.parameters(), lr=0.004)

    @property
    def params(self) -> list[torch.Tensor]:
        return [*self.model.parameters(), *self.critic.parameters()]

    def round(self) -> None:
        inputs, targets = self.batch()
        self.second.zero_grad()
        made = self.model(inputs)
        real, false = self.critic(targets), self.critic(made.detach())
        loss = functional.softplus(-real).mean() + functional.softplus(false).mean()
        loss.backward()
        self.note(loss, self.second)
        self.second.step()
        self.optimizer.zero_grad()
        loss = functional.softplus(-self.critic(made)).mean()
        loss.backward()
        self.note(loss, self.optimizer)
        self.optimizer.step()


class ActorCritic(Gan):
    """Two networks and two optimizers that step together after one backward."""

    def round(self) -> None:
        inputs, targets = self.batch()
        self.optimizer.zero_grad()
        self.second.zero_grad()
        acted = self.model(inputs)
        advantage = targets - self.critic(targets)
        loss = (acted * advantage.detach()).mean() + advantage.pow(2).mean()
        loss.backward()
        self.note(loss, self.optimizer, self.second)
        self.optimizer.step()
        self.second.step()


class SeveralModels(Loop):
    """Two models that have nothing to do with each other, trained in turn."""

    def prepare(self) -> None:
        self.other = copy.deepcopy(self.model)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
        self.second = torch.optim.AdamW(self.other.parameters(), lr=0.01)

    @property
    def params(self) -> list[torch.Tensor]:
        return [*self.model.parameters(), *(self.other.parameters() if hasattr(self, "other") else ())]

    def round(self) -> None:
        for model, optimizer in ((self.model, self.optimizer), (self.other, self.second)):
            optimizer.zero_grad()
            loss = self.loss(model)
            loss.backward()
            self.note(loss, optimizer)
            optimizer.step()


class ManyGroups(Loop):
    """A group for each of twenty layers, as with a decay by depth."""

    groups = 20

    def prepare(self) -> None:
        layers = [torch.nn.Linear(8, 8) for _ in range(self.groups - 1)]
        self.model = torch.nn.Sequential(*layers, torch.nn.Linear(8, 1))
        named = [{"params": list(layer.parameters()), "lr": 0.01 * 0.9**i} for i, layer in enumerate(self.model)]
        self.optimizer = torch.optim.AdamW(named)


class InBackward(Loop):
    """An optimizer a parameter, stepped by a hook as soon as the gradient is there."""

    def prepare(self) -> None:
        self.optimizers = {p: torch.optim.SGD([p], lr=0.05) for p in self.params}
        self.squares = 0.0

        def made(param: torch.Tensor) -> None:
            self.squares += norm_of([param]) ** 2
            self.optimizers[param].step()
            self.optimizers[param].zero_grad()

        for param in self.params:
            param.register_post_accumulate_grad_hook(made)

    def round(self) -> None:
        loss = self.loss()
        value, self.squares = loss.item(), 0.0
        loss.backward()
        self.truth.append(Truth(value, math.sqrt(self.squares), (0.05,) * len(self.params)))


class GroupByGroup(Loop):
    """One optimizer, stepped once for each of its groups with the others hidden, as DeepSpeed's ZeRO does."""

    def prepare(self) -> None:
        last = list(self.model[2].parameters())
        groups: list[dict[str, Any]] = [
            {"params": [*self.model[0].parameters()]},
            {"params": [*last[:1]], "lr": 0.004},
            {"params": last[1:]},
        ]
        self.optimizer = torch.optim.Adam(groups, lr=0.001)

    def round(self) -> None:
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.note(loss)
        groups = self.optimizer.param_groups
        for group in groups:
            self.optimizer.param_groups = [group]
            self.optimizer.step()
        self.optimizer.param_groups = groups


class SteppedTwice(Loop):
    """Two steps with the same gradients."""

    def round(self) -> None:
        super().round()
        self.optimizer.step()


class Shared(Loop):
    """Two optimizers that step together, and both have the last layer."""

    def prepare(self) -> None:
        self.optimizer = torch.optim.Adam(self.params, lr=0.001)
        self.second = torch.optim.SGD(self.model[2].parameters(), lr=0.004)

    def round(self) -> None:
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.truth.append(Truth(loss.item(), norm_of(self.params), lrs_of(self.optimizer, self.second)))
        self.optimizer.step()
        self.second.step()
