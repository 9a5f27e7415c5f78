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


def distances(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute error of each lane."""
    return (outputs - targets).abs().flatten(1).mean(1)


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
        part: what it is for: rules are tuned on "tuning", the judgement learns from that and from "school", and neither
            is done on "held out", nor on "exam", which was not run before both were settled.
        optimizers: those it is trained with; empty means all.
        seeds: how many seeds a sweep takes.
    """

    name: str
    words: str
    data: Callable[[], Data]
    model: Callable[[], Model]
    loss: Callable[[Tensor, Tensor], Tensor]
    batch: int
    part: str = "tuning"
    optimizers: tuple[str, ...] = ()
    seeds: int = 3

    @property
    def held_out(self) -> bool:
        """Whether no rule may be tuned on it."""
        return self.part in ("held out", "exam")

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
             data.series, models.residual, entropy, 32, part="held out"),
        Task("AE", "autoencoder of digits with a tanh bottleneck of eight",
             data.pictures, lambda: models.perceptron((64, 32, 8, 32, 64), torch.tanh), squares, 32, part="held out"),
        Task("S1", "logistic regression on series, batches of eight",
             data.series, lambda: models.perceptron((40, 10)), entropy, 8, part="school", seeds=2),
        Task("S2", "perceptron 64-48-10 on digits, of which every seventh has a wrong label",
             data.mislabelled, lambda: models.perceptron((64, 48, 10)), entropy, 16, part="school", seeds=2),
        Task("S3", "perceptron 64-48-48-48-48-10 with tanh on digits, batches of 128",
             data.digits, lambda: models.perceptron((64, 48, 48, 48, 48, 10), torch.tanh), entropy, 128,
             part="school", seeds=2),
        Task("S4", "perceptron 20-48-48-8 that learns what another says",
             data.taught, lambda: models.perceptron((20, 48, 48, 8)), squares, 64, part="school", seeds=2),
        Task("S5", "gated recurrent unit over series",
             data.series, models.recurrent, entropy, 32, part="school", seeds=2),
        Task("S6", "letters by the eight before, from a table and a perceptron",
             data.endings, models.neighbours, entropy, 64, part="school", seeds=2),
        Task("S7", "perceptron 64-64-64-10 with layer normalisation on digits with wrong labels",
             data.mislabelled, lambda: models.normalised((64, 64, 64, 10)), entropy, 64, part="school", seeds=2),
        Task("S8", "perceptron 10-32-1 on 360 measured people, mostly noise",
             data.diabetes, lambda: models.perceptron((10, 32, 1)), squares, 16, part="school", seeds=2),
        Task("S9", "linear regression, 100 dimensions, spectrum 1/i, large errors, batches of four",
             data.steep, lambda: models.perceptron((100, 1)), squares, 4, part="school", seeds=2),
        Task("S10", "logistic regression on digits, of which every seventh has a wrong label, batches of 128",
             data.mislabelled, lambda: models.perceptron((64, 10)), entropy, 128, part="school", seeds=2),
        Task("S11", "linear regression on what a network says, which is not linear",
             data.taught, lambda: models.perceptron((20, 8)), squares, 16, part="school", seeds=2),
        Task("S12", "logistic regression in two classes on series",
             data.halves, lambda: models.perceptron((40, 2)), entropy, 16, part="school", seeds=2),
        Task("S13", "perceptron 32-48-8 that goes on with a series",
             data.ends, lambda: models.perceptron((32, 48, 8), torch.tanh), squares, 32, part="school", seeds=2),
        Task("S14", "perceptron 2-64-64-1 that draws waves, hardly any noise",
             data.waves, lambda: models.perceptron((2, 64, 64, 1)), squares, 64, part="school", seeds=2),
        Task("S15", "transformer over letters, one layer of width 16, batches of four",
             data.prose, lambda: models.transformer(16, 1), entropy, 4, part="school", seeds=1),
        Task("S16", "matrix factorisation in batches of 16",
             data.ratings, models.factors, squares, 16, part="school", seeds=2),
        Task("S17", "three convolutions on series, batches of eight",
             data.series, models.convolution, entropy, 8, part="school", seeds=1),
        Task("S18", "perceptron 64-32-10 on digits, batches of 512",
             data.digits, lambda: models.perceptron((64, 32, 10)), entropy, 512, part="school", seeds=1),
        Task("S19", "perceptron 13-32-3 on 142 wines, which it fits to nothing",
             data.wines, lambda: models.perceptron((13, 32, 3)), entropy, 16, part="school", seeds=2),
        Task("S20", "logistic regression on 142 wines, which a line tells apart",
             data.wines, lambda: models.perceptron((13, 3)), entropy, 8, part="school", seeds=2),
        Task("S21", "perceptron 64-64-10 on digits with dropout of three tenths",
             data.digits, lambda: models.dropped((64, 64, 10), 0.3), entropy, 32, part="school", seeds=2),
        Task("S22", "perceptron 40-64-64-10 with batch normalisation on series",
             data.series, lambda: models.normalised((40, 64, 64, 10), models.batch_norm), entropy, 64,
             part="school", seeds=2),
        Task("S23", "residual blocks of tanh, without normalisation, that learn what another says",
             data.taught, lambda: models.shortcuts(20, 32, 8, 4), squares, 32, part="school", seeds=2),
        Task("S24", "logistic regression in odd and even digits",
             data.parity, lambda: models.perceptron((64, 2)), entropy, 64, part="school", seeds=2),
        Task("S25", "perceptron 64-96-2 in odd and even digits, which it fits to nothing",
             data.parity, lambda: models.perceptron((64, 96, 2)), entropy, 32, part="school", seeds=2),
        Task("S26", "gated recurrent unit over series in twenty pieces, batches of 16",
             data.series, lambda: models.recurrent(20, 2, 24), entropy, 16, part="school", seeds=1),
        Task("S27", "perceptron 100-48-1 with absolute errors, of which a few are large",
             data.steep, lambda: models.perceptron((100, 48, 1)), distances, 32, part="school", seeds=2),
        Task("S28", "perceptron 2-32-32-32-32-1 with tanh that draws waves, batches of 16",
             data.waves, lambda: models.perceptron((2, 32, 32, 32, 32, 1), torch.tanh), squares, 16,
             part="school", seeds=2),
        Task("X1", "perceptron 30-32-2 on 450 tumours",
             data.tumours, lambda: models.perceptron((30, 32, 2)), entropy, 16, part="exam", seeds=2),
        Task("X2", "two convolutions over the pictures of digits",
             data.digits, models.pictures, entropy, 64, part="exam", seeds=2),
        Task("X3", "letters by the eight before, from a table for each place: convex",
             data.endings, models.places, entropy, 32, part="exam", seeds=2),
        Task("X4", "perceptron 10-48-1 on Friedman's function, batches of eight",
             data.friedman, lambda: models.perceptron((10, 48, 1)), squares, 8, part="exam", seeds=2),
        Task("X5", "perceptron 2-48-48-3 on three spirals",
             data.spirals, lambda: models.perceptron((2, 48, 48, 3)), entropy, 32, part="exam", seeds=2),
        Task("X6", "gated recurrent unit over letters",
             data.endings, models.spelling, entropy, 32, part="exam", seeds=1),
    )
}  # fmt: skip
