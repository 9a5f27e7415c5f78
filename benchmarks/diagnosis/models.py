"""Models over lanes: every parameter has one more axis in front, the lane, and lanes never meet.

Lanes are jobs of their own that are trained side by side, because a step of a model as small as these is nearly all
overhead. `tests/benchmarks/diagnosis` holds a lane against the same job trained alone by torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from benchmarks.diagnosis.data import CONTEXT, LETTERS
from torch import Tensor

Forward = Callable[[Sequence[Tensor], Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Model:
    """Shapes without the lane, a bound for their uniform initialisation, and what is computed.

    Attributes:
        shapes: of each parameter.
        bounds: each parameter starts uniform within plus or minus this; a constant where it is given as a tuple (c,).
        forward: outputs for parameters, inputs and, in training alone, uniform numbers for dropout.
        noise: shape per example of those numbers, empty where there is no dropout.
    """

    shapes: tuple[tuple[int, ...], ...]
    bounds: tuple[float | tuple[float], ...]
    forward: Forward
    noise: tuple[int, ...] = ()

    def init(self, seed: int) -> list[Tensor]:
        """The parameters of one lane."""
        draw = torch.Generator().manual_seed(seed * 7919 + 100)
        found = []
        for shape, bound in zip(self.shapes, self.bounds, strict=True):
            if isinstance(bound, tuple):
                found.append(torch.full(shape, bound[0]))
            else:
                found.append((torch.rand(shape, generator=draw) * 2.0 - 1.0) * bound)
        return found


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The input x is (lanes, examples, in), weight (lanes, out, in), bias (lanes, out)."""
    return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))


def _layer(inside: int, outside: int) -> tuple[tuple[tuple[int, ...], ...], tuple[float, ...]]:
    bound = inside**-0.5
    return ((outside, inside), (outside,)), (bound, bound)


def perceptron(widths: Sequence[int], activation: Callable[[Tensor], Tensor] = F.relu) -> Model:
    """Layers of these widths; with two it is linear."""
    shapes: list[tuple[int, ...]] = []
    bounds: list[float | tuple[float]] = []
    for inside, outside in pairwise(widths):
        shape, bound = _layer(inside, outside)
        shapes += shape
        bounds += bound
    last = len(widths) - 2

    def forward(p: Sequence[Tensor], x: Tensor, noise: Tensor | None) -> Tensor:
        del noise
        for layer in range(last + 1):
            x = linear(x, p[2 * layer], p[2 * layer + 1])
            x = activation(x) if layer < last else x
        return x

    return Model(tuple(shapes), tuple(bounds), forward)


def dropped(widths: Sequence[int], dropout: float) -> Model:
    """A perceptron with dropout before its last layer."""
    plain = perceptron(widths)
    last = len(widths) - 2

    def forward(p: Sequence[Tensor], x: Tensor, noise: Tensor | None) -> Tensor:
        for layer in range(last):
            x = F.relu(linear(x, p[2 * layer], p[2 * layer + 1]))
        if noise is not None:
            x = x * (noise >= dropout) / (1.0 - dropout)
        return linear(x, p[2 * last], p[2 * last + 1])

    return Model(plain.shapes, plain.bounds, forward, noise=(widths[-2],))


def shortcuts(inside: int, width: int, outside: int, blocks: int) -> Model:
    """Residual blocks of a layer each, without any normalisation."""
    layers = [_layer(inside, width), *[_layer(width, width)] * blocks, _layer(width, outside)]

    def forward(p: Sequence[Tensor], x: Tensor, noise: Tensor | None) -> Tensor:
        del noise
        x = linear(x, p[0], p[1])
        for block in range(1, blocks + 1):
            x = x + torch.tanh(linear(x, p[2 * block], p[2 * block + 1]))
        return linear(x, p[-2], p[-1])

    return Model(
        tuple(s for layer in layers for s in layer[0]), tuple(b for layer in layers for b in layer[1]), forward
    )


def spelling(width: int = 32) -> Model:
    """A table of letters, a gated recurrent unit over those that came before, and a linear layer."""
    inner = recurrent(inside=width, width=width)
    shape, bound = _layer(width, LETTERS)

    def forward(p: Sequence[Tensor], x: Tensor, noise: Tensor | None) -> Tensor:
        lanes, examples, _ = x.shape
        seen = p[0][torch.arange(lanes).view(-1, 1, 1), x]
        return inner.forward(p[1:], seen.view(lanes, examples, -1), noise)

    return Model(((LETTERS, width), *inner.shapes[:-2], *shape), (1.0, *inner.bounds[:-2], *bound), forward)


def factors() -> Model:
    """Two tables whose rows' product is the rating: zero is a saddle."""

    def forward(p: Sequence[Tensor], x: Tensor, noise: Tensor | None) -> Tensor:
        del noise
        lane = torch.arange(x.shape[0]).unsqueeze(1)
        return (p[0][lane, x[..., 0]] * p[1][lane, x[..., 1]]).sum(2)

    return Model(((100, 8), (80, 8)), (0.5, 0.5), forward)


def convolution() -> Model:
    """Three strided convolutions over a series, and a linear layer."""
    plan = ((1, 16, 5), (16, 16, 3), (16, 16, 3))
    shapes: list[tuple[int, ...]] = []
    bounds: list[float | tuple[float]] = []
    for inside, outside, width in plan:
        shape, bound = _layer(inside * width, outside)
        shapes += shape
        bounds += bound
    shape, bound = _layer(80, 10)

    def forward(p: Sequence[Tensor], x: Tensor, noise: Tensor | None) -> Tensor:
        del noise
        lanes, examples, _ = x.shape
        x = x.unsqueeze(3)  # (lanes, examples, length, channels)
        for layer, (_, outside, width) in enumerate(plan):
            windows = F.pad(x, (0, 0, width // 2, width // 2)).unfold(2, width, 2)
            length = windows.shape[2]
            flat = windows.reshape(lanes, examples * length, -1)
            x = F.relu(linear(flat, p[2 * layer], p[2 * layer + 1])).view(lanes, examples, length, outside)
        return linear(x.reshape(lanes, examples, -1), p[6], p[7])

    return Model((*shapes, *shape), (*bounds, *bound), forward)


def norm(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Layer normalisation over the last axis; gain and bias are (lanes, width)."""
    return F.layer_norm(x, x.shape[-1:]) * gain.unsqueeze(1) + bias.unsqueeze(1)


def batch_norm(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Batch normalisation over the examples at hand (Ioffe and Szegedy, 1502.03167), in validation too."""
    variance, mean = torch.var_mean(x, dim=1, keepdim=True, unbiased=False)
    return (x - mean) * (variance + 1e-5).rsqrt() * gain.unsqueeze(1) + bias.unsqueeze(1)


def normalised(widths: Sequence[int], norm: Callable[[Tensor, Tensor, Tensor], Tensor] = norm) -> Model:
    """A perceptron with layer normalisation, or another, before each of its activations."""
    plain = perceptron(widths)
    inner = widths[1:-1]
    shapes = (*plain.shapes, *((width,) for width in inner for _ in range(2)))
    bounds = (*plain.bounds, *(bound for _ in inner for bound in ((1.0,), (0.0,))))

    def forward(p: Sequence[Tensor], x: Tensor, noise: Tensor | None) -> Tensor:
        del noise
        q = p[len(plain.shapes) :]
        for layer in range(len(inner)):
            x = F.relu(norm(linear(x, p[2 * layer], p[2 * layer + 1]), q[2 * layer], q[2 * layer + 1]))
        return linear(x, p[2 * len(inner)], p[2 * len(inner) + 1])

    return Model(shapes, bounds, forward)


def recurrent(pieces: int = 8, inside: int = 5, width: int = 32) -> Model:
    """A gated recurrent unit (Cho et al., 1406.1078) over pieces of a series, and a linear layer."""
    shapes = (*_layer(inside + width, 2 * width)[0], *_layer(inside + width, width)[0], *_layer(width, 10)[0])
    bounds = (*(width**-0.5,) * 4, *_layer(width, 10)[1])

    def forward(p: Sequence[Tensor], x: Tensor, noise: Tensor | None) -> Tensor:
        del noise
        lanes, examples, _ = x.shape
        h = x.new_zeros(lanes, examples, width)
        for piece in x.view(lanes, examples, pieces, inside).unbind(2):
            update, reset = torch.sigmoid(linear(torch.cat([piece, h], 2), p[0], p[1])).split(width, 2)
            fresh = torch.tanh(linear(torch.cat([piece, reset * h], 2), p[2], p[3]))
            h = h + update * (fresh - h)
        return linear(h, p[4], p[5])

    return Model(shapes, bounds, forward)


def neighbours(context: int = 8, width: int = 16, hidden: int = 64) -> Model:
    """A table of letters and a perceptron over those that came before (Bengio et al. 2003)."""
    shapes = ((LETTERS, width), *_layer(context * width, hidden)[0], *_layer(hidden, LETTERS)[0])
    bounds = (1.0, *_layer(context * width, hidden)[1], *_layer(hidden, LETTERS)[1])

    def forward(p: Sequence[Tensor], x: Tensor, noise: Tensor | None) -> Tensor:
        del noise
        lanes, examples, _ = x.shape
        lane = torch.arange(lanes).view(-1, 1, 1)
        seen = p[0][lane, x].reshape(lanes, examples, context * width)
        return linear(torch.tanh(linear(seen, p[1], p[2])), p[3], p[4])

    return Model(shapes, bounds, forward)


def places(context: int = 8) -> Model:
    """A table of letters for each place before, and their sum: a linear model."""
    shapes = ((context * LETTERS, LETTERS), (LETTERS,))

    def forward(p: Sequence[Tensor], x: Tensor, noise: Tensor | None) -> Tensor:
        del noise
        lane = torch.arange(x.shape[0]).view(-1, 1, 1)
        return p[0][lane, x + torch.arange(context) * LETTERS].sum(2) + p[1].unsqueeze(1)

    return Model(shapes, (0.05, 0.05), forward)


def pictures() -> Model:
    """Two strided convolutions over pictures of 8 x 8, and a linear layer."""
    plan = ((1, 12), (12, 24))
    shapes: list[tuple[int, ...]] = []
    bounds: list[float | tuple[float]] = []
    for inside, outside in ((9, 12), (9 * 12, 24), (96, 10)):
        shape, bound = _layer(inside, outside)
        shapes += shape
        bounds += bound

    def forward(p: Sequence[Tensor], x: Tensor, noise: Tensor | None) -> Tensor:
        del noise
        lanes, examples, _ = x.shape
        x = x.view(lanes, examples, 8, 8, 1)
        for layer, (inside, outside) in enumerate(plan):
            windows = F.pad(x, (0, 0, 1, 1, 1, 1)).unfold(2, 3, 2).unfold(3, 3, 2)
            side = windows.shape[2]
            flat = windows.reshape(lanes, examples * side * side, 9 * inside)
            x = F.relu(linear(flat, p[2 * layer], p[2 * layer + 1])).view(lanes, examples, side, side, outside)
        return linear(x.reshape(lanes, examples, -1), p[4], p[5])

    return Model(tuple(shapes), tuple(bounds), forward)


def residual(inside: int = 40, width: int = 48, blocks: int = 2, dropout: float = 0.1) -> Model:
    """Residual blocks with layer normalisation, and dropout before the last layer."""
    shapes: list[tuple[int, ...]] = []
    bounds: list[float | tuple[float]] = []

    def add(i: int, o: int) -> None:
        shape, bound = _layer(i, o)
        shapes.extend(shape)
        bounds.extend(bound)

    def add_norm() -> None:
        shapes.extend(((width,), (width,)))
        bounds.extend(((1.0,), (0.0,)))

    add(inside, width)
    for _ in range(blocks):
        add_norm()
        add(width, 2 * width)
        add(2 * width, width)
    add_norm()
    add(width, 10)

    def forward(p: Sequence[Tensor], x: Tensor, noise: Tensor | None) -> Tensor:
        x = linear(x, p[0], p[1])
        for block in range(blocks):
            q = p[2 + 6 * block :]
            x = x + linear(F.gelu(linear(norm(x, q[0], q[1]), q[2], q[3])), q[4], q[5])
        q = p[2 + 6 * blocks :]
        x = norm(x, q[0], q[1])
        if noise is not None:
            x = x * (noise >= dropout) / (1.0 - dropout)
        return linear(x, q[2], q[3])

    return Model(tuple(shapes), tuple(bounds), forward, noise=(width,))


def transformer(width: int = 32, layers: int = 2, heads: int = 2) -> Model:
    """A causal transformer over letters, pre-norm, with its own output layer."""
    shapes: list[tuple[int, ...]] = [(LETTERS, width), (CONTEXT, width)]
    bounds: list[float | tuple[float]] = [0.17, 0.17]
    for _ in range(layers):
        for inside, outside in ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)):
            shape, bound = _layer(inside, outside)
            shapes += shape
            bounds += bound
        shapes += [(width,)] * 4
        bounds += [(1.0,), (0.0,), (1.0,), (0.0,)]
    shapes += [(width,), (width,)]
    bounds += [(1.0,), (0.0,)]
    shape, bound = _layer(width, LETTERS)
    shapes += shape
    bounds += bound

    def forward(p: Sequence[Tensor], x: Tensor, noise: Tensor | None) -> Tensor:
        del noise
        lanes, examples, length = x.shape
        lane = torch.arange(lanes).view(-1, 1, 1)
        h = (p[0][lane, x] + p[1][:, :length].unsqueeze(1)).reshape(lanes, examples * length, width)
        for layer in range(layers):
            q = p[2 + 12 * layer :]
            mixed = linear(norm(h, q[8], q[9]), q[0], q[1])
            three = mixed.view(lanes * examples, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            seen = F.scaled_dot_product_attention(three[0], three[1], three[2], is_causal=True)
            seen = seen.transpose(1, 2).reshape(lanes, examples * length, width)
            h = h + linear(seen, q[2], q[3])
            h = h + linear(F.gelu(linear(norm(h, q[10], q[11]), q[4], q[5])), q[6], q[7])
        q = p[2 + 12 * layers :]
        return linear(norm(h, q[0], q[1]), q[2], q[3]).view(lanes, examples, length, LETTERS)

    return Model(tuple(shapes), tuple(bounds), forward)
