"""What dynamo has compiled."""

from __future__ import annotations

from typing import Any

import torch
from tests.agent.probe.loops.loop import Loop
from torch.nn import functional


class Compiled(Loop):
    """A model that dynamo has compiled."""

    backend = "eager"

    def prepare(self) -> None:
        torch._dynamo.reset()
        super().prepare()
        self.compiled = torch.compile(self.model, backend=self.backend)

    def round(self) -> None:
        self.optimizer.zero_grad()
        loss = self.loss(self.compiled)
        loss.backward()
        self.note(loss)
        self.optimizer.step()


class CompiledAot(Compiled):
    backend = "aot_eager"


class CompiledLoss(Loop):
    """The loss function is compiled with the model."""

    def prepare(self) -> None:
        torch._dynamo.reset()
        super().prepare()

        def forward(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return functional.mse_loss(self.model(inputs), targets)

        self.forward = torch.compile(forward, backend="eager")

    def loss(self, model: Any = None) -> torch.Tensor:
        made: torch.Tensor = self.forward(*self.batch())
        return made

    def round(self) -> None:
        super().round()
        if len(self.truth) % 3 == 1:
            with torch.no_grad():
                self.loss()
