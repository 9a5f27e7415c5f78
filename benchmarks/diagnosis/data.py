"""The data that the benchmark's jobs learn: made here, or small and already on the machine."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SEED = 12345
"""All data are drawn from this: a job's own seed changes its initialisation and the order of its batches, no more."""


@dataclass(frozen=True)
class Data:
    """What a job trains on, and what it validates on.

    Attributes:
        x: training inputs, the first axis counts examples.
        y: training targets.
        x_val: validation inputs.
        y_val: validation targets.
        classes: number of classes, 0 where targets are not classes.
    """

    x: Tensor
    y: Tensor
    x_val: Tensor
    y_val: Tensor
    classes: int = 0


@functools.cache
def linear() -> Data:
    """Noisy linear regression in 50 dimensions with a spectrum of i^-1.5."""
    draw = torch.Generator().manual_seed(SEED)
    spectrum = torch.arange(1, 51, dtype=torch.float32) ** -1.5
    x = torch.randn(2256, 50, generator=draw) * spectrum.sqrt()
    truth = torch.randn(50, 1, generator=draw)
    y = x @ truth + 0.3 * torch.randn(2256, 1, generator=draw)
    return Data(x[:2000], y[:2000], x[2000:], y[2000:])


@functools.cache
def digits() -> Data:
    """The 8 x 8 digits of UCI, as scikit-learn carries them."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise SystemExit(
            "the digits come with scikit-learn, which is not installed: pip install -e '.[dev,bench]', "
            "or `make bench-diagnosis`, which does so"
        ) from error
    pictures_of, meant = load_digits(return_X_y=True)
    order = torch.randperm(len(meant), generator=torch.Generator().manual_seed(SEED))
    x = torch.tensor(pictures_of / 16.0, dtype=torch.float32)[order]
    y = torch.tensor(meant, dtype=torch.long)[order]
    return Data(x[:1400], y[:1400], x[1400:1656], y[1400:1656], classes=10)


def pictures() -> Data:
    """The digits as their own targets, for an autoencoder."""
    found = digits()
    return Data(found.x, found.x, found.x_val, found.x_val)


@functools.cache
def series() -> Data:
    """Series of 40 points in ten classes: a template, shifted, stretched, tilted and buried in correlated noise.

    After the idea of MNIST-1D (Greydanus and Kobak, 2011.14439), drawn by our own code.
    """
    draw = np.random.default_rng(SEED)
    knots = draw.normal(size=(10, 8))
    place = np.arange(40)
    x = np.empty((4256, 40), dtype=np.float32)
    y = draw.integers(0, 10, size=4256)
    for row, label in enumerate(y):
        stretch, shift = draw.uniform(0.75, 1.25), draw.uniform(-8.0, 8.0)
        where = (place - 20.0 - shift) / (24.0 * stretch) * 7.0 + 3.5
        signal = np.interp(where, np.arange(8), knots[label], left=0.0, right=0.0)
        noise = np.convolve(draw.normal(size=44), np.ones(5) / 5.0, mode="valid")
        x[row] = signal * draw.uniform(0.6, 1.4) + draw.normal(0.0, 0.3) * (place / 20.0 - 1.0) + 0.7 * noise
    found, labels = torch.tensor(x), torch.tensor(y, dtype=torch.long)
    return Data(found[:4000], labels[:4000], found[4000:], labels[4000:], classes=10)


def halves() -> Data:
    """The same series, told apart by whether their class is one of the first five."""
    found = series()
    return Data(found.x, (found.y < 5).long(), found.x_val, (found.y_val < 5).long(), classes=2)


def ends() -> Data:
    """The first 32 points of the same series, and the other eight."""
    found = series()
    return Data(found.x[:, :32], found.x[:, 32:], found.x_val[:, :32], found.x_val[:, 32:])


@functools.cache
def waves() -> Data:
    """Points of a square and the height of waves there."""
    draw = torch.Generator().manual_seed(SEED)
    x = torch.rand(3256, 2, generator=draw) * 4.0 - 2.0
    y = torch.sin(3.0 * x[:, :1]) * torch.cos(2.0 * x[:, 1:]) + 0.02 * torch.randn(3256, 1, generator=draw)
    return Data(x[:3000], y[:3000], x[3000:], y[3000:])


@functools.cache
def ratings() -> Data:
    """Half of the noisy entries of a 100 x 80 matrix of rank five."""
    draw = torch.Generator().manual_seed(SEED)
    left, right = torch.randn(100, 5, generator=draw), torch.randn(80, 5, generator=draw)
    matrix = left @ right.T / 5**0.5 + 0.2 * torch.randn(100, 80, generator=draw)
    order = torch.randperm(8000, generator=draw)
    place = torch.stack([order // 80, order % 80], dim=1)
    y = matrix.flatten()[order]
    return Data(place[:4000], y[:4000], place[4000:4512], y[4000:4512])


@functools.cache
def mislabelled() -> Data:
    """The digits, of which every seventh in training has another's label."""
    found = digits()
    draw = torch.Generator().manual_seed(SEED)
    y = found.y.clone()
    y[::7] = torch.randint(0, 10, (len(y[::7]),), generator=draw)
    return Data(found.x, y, found.x_val, found.y_val, classes=10)


@functools.cache
def diabetes() -> Data:
    """Ten measurements of 442 people and how their disease went on, as scikit-learn carries them, in standard units."""
    from sklearn.datasets import load_diabetes

    known, grew = load_diabetes(return_X_y=True, scaled=True)
    order = torch.randperm(len(grew), generator=torch.Generator().manual_seed(SEED))
    x = torch.tensor(known * len(grew) ** 0.5, dtype=torch.float32)[order]
    y = torch.tensor((grew - grew.mean()) / grew.std(), dtype=torch.float32)[order].unsqueeze(1)  # pyright: ignore
    return Data(x[:360], y[:360], x[360:], y[360:])


@functools.cache
def wines() -> Data:
    """Thirteen measurements of 178 wines of three growers, from scikit-learn, in standard units."""
    from sklearn.datasets import load_wine

    known, grower = load_wine(return_X_y=True)
    order = torch.randperm(len(grower), generator=torch.Generator().manual_seed(SEED))
    x = torch.tensor((known - known.mean(0)) / known.std(0), dtype=torch.float32)[order]
    y = torch.tensor(grower, dtype=torch.long)[order]
    return Data(x[:142], y[:142], x[142:], y[142:], classes=3)


def parity() -> Data:
    """The digits, told apart by whether they are odd."""
    found = digits()
    return Data(found.x, found.y % 2, found.x_val, found.y_val % 2, classes=2)


@functools.cache
def spirals() -> Data:
    """Points of three spirals that wind around each other, with noise."""
    draw = torch.Generator().manual_seed(SEED)
    y = torch.arange(2456) % 3
    along = torch.rand(2456, generator=draw)
    angle = along * 7.0 + y * (2.0 * torch.pi / 3.0)
    x = torch.stack([angle.cos(), angle.sin()], dim=1) * along.unsqueeze(1) * 2.0
    x += 0.08 * torch.randn(2456, 2, generator=draw)
    return Data(x[:2200], y[:2200], x[2200:], y[2200:], classes=3)


@functools.cache
def tumours() -> Data:
    """Thirty measurements of 569 tumours and whether each was benign, from scikit-learn, in standard units."""
    from sklearn.datasets import load_breast_cancer

    known, benign = load_breast_cancer(return_X_y=True)
    order = torch.randperm(len(benign), generator=torch.Generator().manual_seed(SEED))
    x = torch.tensor((known - known.mean(0)) / known.std(0), dtype=torch.float32)[order]
    y = torch.tensor(benign, dtype=torch.long)[order]
    return Data(x[:450], y[:450], x[450:], y[450:], classes=2)


@functools.cache
def friedman() -> Data:
    """Friedman's function of five of ten uniform numbers (Annals of Statistics 1991) in standard units, much noise."""
    draw = torch.Generator().manual_seed(SEED)
    x = torch.rand(3256, 10, generator=draw)
    y = 10.0 * torch.sin(torch.pi * x[:, 0] * x[:, 1]) + 20.0 * (x[:, 2] - 0.5) ** 2 + 10.0 * x[:, 3] + 5.0 * x[:, 4]
    y = (y - y.mean()) / y.std() + 0.5 * torch.randn(3256, generator=draw)
    x, y = (x - 0.5) * 12**0.5, y.unsqueeze(1)
    return Data(x[:3000], y[:3000], x[3000:], y[3000:])


@functools.cache
def steep() -> Data:
    """Linear regression in 100 dimensions with a spectrum of 1/i, and errors of which a few are large."""
    draw = torch.Generator().manual_seed(SEED)
    x = torch.randn(3256, 100, generator=draw) * torch.arange(1, 101, dtype=torch.float32) ** -0.5
    errors = torch.randn(3256, 1, generator=draw) / torch.rand(3256, 1, generator=draw).clamp_min(0.05) ** 0.5
    y = x @ torch.randn(100, 1, generator=draw) + 0.2 * errors
    return Data(x[:3000], y[:3000], x[3000:], y[3000:])


@functools.cache
def taught() -> Data:
    """What a random network of 32 says of 20 numbers, with noise."""
    draw = torch.Generator().manual_seed(SEED)
    x = torch.randn(4256, 20, generator=draw)
    hidden = torch.tanh(x @ torch.randn(20, 32, generator=draw) / 20**0.5 * 2.0)
    y = hidden @ torch.randn(32, 8, generator=draw) / 32**0.5 + 0.1 * torch.randn(4256, 8, generator=draw)
    return Data(x[:4000], y[:4000], x[4000:], y[4000:])


CONTEXT = 32
LETTERS = 64


@functools.cache
def prose() -> Data:
    """Windows of 32 letters of the documentation that Python's standard library carries, and what follows each."""
    from pydoc_data.topics import topics

    text = "".join(topics[name] for name in sorted(topics))[:300_000]
    counts = {letter: text.count(letter) for letter in set(text)}
    usual = sorted(counts, key=lambda letter: (-counts[letter], letter))[: LETTERS - 1]
    number = {letter: i for i, letter in enumerate(usual)}
    codes = torch.tensor([number.get(letter, LETTERS - 1) for letter in text])
    cut = int(len(codes) * 0.9)
    train, rest = codes[:cut].unfold(0, CONTEXT + 1, 1), codes[cut:].unfold(0, CONTEXT + 1, 1)
    rest = rest[torch.randint(0, len(rest), (32,), generator=torch.Generator().manual_seed(SEED))]
    return Data(train[:, :-1], train[:, 1:], rest[:, :-1], rest[:, 1:], classes=LETTERS)


@functools.cache
def endings() -> Data:
    """Windows of eight letters of the same text, and the one that follows."""
    found = prose()
    x, y = found.x.reshape(-1, CONTEXT)[::4, -8:], found.y.reshape(-1, CONTEXT)[::4, -1]
    return Data(x, y, found.x_val[:, -8:], found.y_val[:, -1], classes=LETTERS)
