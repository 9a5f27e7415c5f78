"""Jobs that change as they go: optimizers, groups, checkpoints, evaluations."""

from __future__ import annotations

import copy
from typing import Any

import torch
from tests.agent.probe.loops.loop import Loop
from torch.nn import functional


class Replaced(Loop):
    """A new optimizer every ten rounds, as at the stages of a curriculum."""

    def round(self) -> None:
        if len(self.truth) % 10 == 9:
            self.optimizer = torch.optim.AdamW(self.params, lr=0.001 * len(self.truth))
        super().round()


class Unfrozen(Loop):
    """Layers that are unfrozen later come as a new group of the same optimizer."""

    def prepare(self) -> None:
        self.optimizer = torch.optim.SGD(self.model[2].parameters(), lr=0.05)
        self.model[0].requires_grad_(False)

    def round(self) -> None:
        if len(self.truth) == 8:
            self.model[0].requires_grad_(True)
            self.optimizer.add_param_group({"params": list(self.model[0].parameters()), "lr": 0.01})
        super().round()


class Resumed(Loop):
    """Goes back to a checkpoint of itself."""

    def prepare(self) -> None:
        self.optimizer = torch.optim.AdamW(self.params, lr=0.01)
        self.saved: Any = None

    def round(self) -> None:
        done = len(self.truth)
        if done == 5:
            self.saved = copy.deepcopy((self.model.state_dict(), self.optimizer.state_dict(), self.count))
        if done == 15:
            model, optimizer, self.count = copy.deepcopy(self.saved)
            self.model.load_state_dict(model)
            self.optimizer.load_state_dict(optimizer)
        super().round()


class Evaluating(Loop):
    """Evaluates every third round, once between backward and step."""

    def prepare(self) -> None:
        super().prepare()
        self.validated: dict[int, float] = {}

    def evaluate(self, sample: int) -> None:
        found = []
        with torch.no_grad():
            for start in (0, 64, 128):
                loss = functional.mse_loss(
                    self.model(self.inputs[start : start + 64]), self.targets[start : start + 64]
                )
                found.append(loss.item())
        self.validated[sample] = sum(found) / 3

    def round(self) -> None:
        done = len(self.truth)
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.note(loss)
        if done % 3 == 1:
            self.evaluate(done)
        self.optimizer.step()
