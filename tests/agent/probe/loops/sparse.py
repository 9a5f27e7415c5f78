"""Sparse gradients, and none."""

from __future__ import annotations

from typing import Any

import torch
from tests.agent.probe.loops.loop import Loop
from torch.nn import functional


class Sparse(Loop):
    """An embedding with sparse gradients."""

    def prepare(self) -> None:
        self.model = torch.nn.EmbeddingBag(32, 4, sparse=True, mode="sum")
        self.words = torch.randint(0, 32, (256, 5), generator=torch.Generator().manual_seed(1))
        self.optimizer = torch.optim.SparseAdam(self.params, lr=0.01)

    def loss(self, model: Any = None) -> torch.Tensor:
        start = self.count * 16 % 256
        self.count += 1
        return functional.mse_loss(self.model(self.words[start : start + 16]), torch.ones(16, 4))


class SparseAndDense(Sparse):
    """One optimizer that takes both kinds, for a table and a head."""

    def prepare(self) -> None:
        super().prepare()
        self.table = self.model
        self.model = torch.nn.Sequential(self.table, torch.nn.Linear(4, 4))
        self.optimizer = torch.optim.SGD(self.params, lr=0.05)


class SparseNowAndThen(Sparse):
    """The same parameter has a dense gradient in most rounds and a sparse one in some."""

    def prepare(self) -> None:
        super().prepare()
        self.optimizer = torch.optim.SGD(self.params, lr=0.05)

    def round(self) -> None:
        self.model.sparse = len(self.truth) % 4 == 3
        super().round()


class WithoutGradient(Loop):
    """A frozen layer, and one that every other batch does not use."""

    def prepare(self) -> None:
        self.model[0].weight.requires_grad_(False)
        self.extra = torch.nn.Linear(8, 1)
        self.optimizer = torch.optim.AdamW(self.params, lr=0.01)

    @property
    def params(self) -> list[torch.Tensor]:
        return [*self.model.parameters(), *(self.extra.parameters() if hasattr(self, "extra") else ())]

    def loss(self, model: Any = None) -> torch.Tensor:
        inputs, targets = self.batch()
        made = self.model(inputs)
        return functional.mse_loss(made + self.extra(inputs) if self.count % 2 else made, targets)
