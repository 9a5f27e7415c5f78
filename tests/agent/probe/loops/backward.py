"""Other ways to come by gradients than one backward of one loss."""

from __future__ import annotations

import warnings

import torch
from tests.agent.probe.loops.loop import Loop
from torch.nn import functional


class NotScalar(Loop):
    """Backward from a vector with the gradient given."""

    def round(self) -> None:
        self.optimizer.zero_grad()
        inputs, targets = self.batch()
        errors = self.model(inputs) - targets
        errors.backward(errors.detach() / 16)
        self.note(None)
        self.optimizer.step()


class Weighted(Loop):
    """A scalar whose gradient is given: not a loss."""

    def round(self) -> None:
        self.optimizer.zero_grad()
        torch.autograd.backward(self.loss(), torch.tensor(0.5))
        self.note(None)
        self.optimizer.step()


class WithoutBackward(Loop):
    """Gradients from torch.autograd.grad: nothing calls backward."""

    def round(self) -> None:
        for param, grad in zip(self.params, torch.autograd.grad(self.loss(), self.params), strict=True):
            param.grad = grad
        self.note(None)
        self.optimizer.step()


class Penalised(Loop):
    """A gradient penalty: the loss contains a gradient."""

    def round(self) -> None:
        self.optimizer.zero_grad()
        inputs, targets = self.batch()
        inputs = inputs.clone().requires_grad_()
        made = self.model(inputs)
        (slope,) = torch.autograd.grad(made.sum(), inputs, create_graph=True)
        loss = functional.mse_loss(made, targets) + 0.1 * slope.pow(2).mean()
        loss.backward()
        self.note(loss)
        self.optimizer.step()


class DoubleBackward(Loop):
    """Backward with create_graph, and a second backward through the gradients."""

    def round(self) -> None:
        self.optimizer.zero_grad()
        loss = self.loss()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of the cycle that is broken below
            loss.backward(create_graph=True)
        size = sum((p.grad.pow(2).sum() for p in self.params), torch.zeros(()))  # type: ignore[union-attr]
        penalty = 0.01 * size
        penalty.backward()
        self.note(loss.item() + penalty.item())
        self.optimizer.step()
        for param in self.params:
            param.grad = None


class GraphKept(Loop):
    """Backward with create_graph, and the step is made with gradients that are part of a graph."""

    def round(self) -> None:
        loss = self.loss()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of the cycle that is broken below
            loss.backward(create_graph=True)
        self.note(loss)
        self.optimizer.step()
        for param in self.params:
            param.grad = None
