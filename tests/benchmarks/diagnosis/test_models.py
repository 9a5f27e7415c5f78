"""Lanes of a model never meet, and what a model is called it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from benchmarks.diagnosis import data, models
from benchmarks.diagnosis.models import Model
from torch import Tensor

Make = Callable[[], Model]

NUMBERS: dict[str, tuple[Make, int]] = {
    "perceptron": (lambda: models.perceptron((12, 16, 4)), 12),
    "layer normalisation": (lambda: models.normalised((12, 16, 4)), 12),
    "batch normalisation": (lambda: models.normalised((12, 16, 16, 4), models.batch_norm), 12),
    "dropout": (lambda: models.dropped((12, 16, 4), 0.5), 12),
    "residual": (models.residual, 40),
    "shortcuts": (lambda: models.shortcuts(12, 16, 4, 3), 12),
    "recurrent": (lambda: models.recurrent(20, 2, 24), 40),
    "convolution": (models.convolution, 40),
    "pictures": (models.pictures, 64),
}
LETTERS: dict[str, Make] = {
    "neighbours": models.neighbours,
    "places": models.places,
    "spelling": models.spelling,
}


def lanes_apart(model: Model, x: Tensor) -> None:
    """Two lanes at once give what each gives alone."""
    seeds = (0, 1)
    together = [torch.stack(pair) for pair in zip(*(model.init(s) for s in seeds), strict=True)]
    noise = torch.rand(2, x.shape[1], *model.noise) if model.noise else None
    found = model.forward(together, x, noise)
    for lane, seed in enumerate(seeds):
        own = None if noise is None else noise[lane : lane + 1]
        alone = model.forward([p.unsqueeze(0) for p in model.init(seed)], x[lane : lane + 1], own)
        torch.testing.assert_close(found[lane], alone[0])


@pytest.mark.parametrize("name", NUMBERS)
def test_lanes_never_meet(name: str) -> None:
    make, inside = NUMBERS[name]
    lanes_apart(make(), torch.randn(2, 6, inside))


@pytest.mark.parametrize("name", LETTERS)
def test_lanes_of_letters_never_meet(name: str) -> None:
    lanes_apart(LETTERS[name](), torch.randint(0, data.LETTERS, (2, 6, 8)))


def test_batch_normalisation_is_that_of_torch() -> None:
    x = torch.randn(1, 32, 5) * 3.0 + 1.0
    mine = models.batch_norm(x, torch.ones(1, 5), torch.zeros(1, 5))
    torch.testing.assert_close(mine[0], torch.nn.BatchNorm1d(5)(x[0]).detach())


def test_dropout_drops_in_training_alone() -> None:
    model = models.dropped((3, 8, 2), 0.5)
    weights, x = [p.unsqueeze(0) for p in model.init(0)], torch.randn(1, 4, 3)
    all_gone = model.forward(weights, x, torch.zeros(1, 4, 8))
    torch.testing.assert_close(all_gone[0], weights[-1].expand(4, 2))
    assert not torch.allclose(model.forward(weights, x, None), all_gone)
