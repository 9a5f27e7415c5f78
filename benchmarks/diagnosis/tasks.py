"""What the benchmark's jobs do. Rules may be tuned on those that are not held out, and on no others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from benchmarks.diagnosis import data, models
from benchmarks.diagnosis.data import Data
from benchmarks.diagnosis.models import Model
from torch import Tensor


def squares(outputs: Tensor, targets: Tensor) -> Tensor:
    """Half the mean squared error of each lane."""
    return 0.5 * ((outputs - targets) ** 2).flatten(1).mean(1)


def entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of each lane."""
    lanes = outputs.shape[0]
    each = F.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1), reduction="none")
    return each.view(lanes, -1).mean(1)


@dataclass(frozen=True)
class Task:
    """One kind of job.

    Attributes:
        name: short, as tables have it.
        words: what it is.
        data: makes its data.
        model: makes its model.
        loss: losses of lanes from outputs and targets.
        batch: examples a step; 0 takes all of them.
        held_out: whether no rule may be tuned on it.
        optimizers: those it is trained with; empty means all.
        seeds: how many seeds a sweep takes.
    """

    name: str
    words: str
    data: Callable[[], Data]
    model: Callable[[], Model]
    loss: Callable[[Tensor, Tensor], Tensor]
    batch: int
    held_out: bool = False
    optimizers: tuple[str, ...] = ()
    seeds: int = 3

    def losses(self, model: Model, p: Sequence[Tensor], x: Tensor, y: Tensor, noise: Tensor | None) -> Tensor:
        """The loss of each lane."""
        return self.loss(model.forward(p, x, noise), y)


def curvature() -> float:
    """Largest eigenvalue of the linear regression's Hessian: plain gradient descent diverges beyond 2 over this."""
    x = data.linear().x
    return float(torch.linalg.eigvalsh(x.T @ x / len(x))[-1])


TASKS = {
    task.name: task
    for task in (
        Task("Q", "linear regression, 50 dimensions, spectrum i^-1.5, batches of 32",
             data.linear, lambda: models.perceptron((50, 1)), squares, 32),
        Task("QF", "the same, with all 2,000 examples in every batch",
             data.linear, lambda: models.perceptron((50, 1)), squares, 0, optimizers=("sgd", "sgdm", "adam")),
        Task("LR", "logistic regression on digits",
             data.digits, lambda: models.perceptron((64, 10)), entropy, 32),
        Task("M1", "perceptron 64-64-64-10 on digits, which it fits to nothing",
             data.digits, lambda: models.perceptron((64, 64, 64, 10)), entropy, 32),
        Task("M2", "perceptron 40-100-100-10 on noisy series",
             data.series, lambda: models.perceptron((40, 100, 100, 10)), entropy, 64),
        Task("M2C", "three convolutions on the same series",
             data.series, models.convolution, entropy, 32, optimizers=("sgdm", "adamw")),
        Task("MF", "matrix factorisation, 100 x 80, rank five",
             data.ratings, models.factors, squares, 128),
        Task("T", "transformer over letters, two layers of width 32",
             data.prose, models.transformer, entropy, 8, optimizers=("sgdm", "adamw", "adamw95"), seeds=1),
        Task("R", "residual net with layer normalisation and dropout on series",
             data.series, models.residual, entropy, 32, held_out=True),
        Task("AE", "autoencoder of digits with a tanh bottleneck of eight",
             data.pictures, lambda: models.perceptron((64, 32, 8, 32, 64), torch.tanh), squares, 32, held_out=True),
    )
}  # fmt: skip
