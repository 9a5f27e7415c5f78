"""Steps that are given a closure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tests.agent.probe.loops.loop import Loop


class Closure(Loop):
    """The step is given a closure, as Lightning does for every optimizer."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make
        super().__init__()

    def prepare(self) -> None:
        self.optimizer = self._make(self.params)

    def round(self) -> None:
        first = len(self.truth)

        def closure() -> torch.Tensor:
            self.optimizer.zero_grad()
            loss = self.loss()
            loss.backward()
            if len(self.truth) == first:
                self.note(loss)
            return loss

        self.optimizer.step(closure)
