"""Gradients cut over any mesh, by the names that the probe gives, add up to the norm of the whole, or to nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.tensor import Partial, Replicate, Shard

from steersman.agent.probe.placement import name_of, place_of
from steersman.monitor.wholenorm import DIRECTION, PREFIX, PROMISE, UNKNOWN, Placement, whole_direction, whole_norm

Parts = dict[int, dict[str, float]]


@dataclass
class Mesh:
    """What `place_of` asks of a DeviceMesh, as one rank sees it."""

    mesh: torch.Tensor
    rank: int

    def get_coordinate(self) -> list[int] | None:
        found = (self.mesh == self.rank).nonzero()
        return found[0].tolist() if len(found) else None


@dataclass
class Cut:
    """A gradient and how it is placed on the dimensions of the world's mesh; replicas are alike on all others."""

    whole: torch.Tensor
    dims: tuple[int, ...]
    placements: tuple[Any, ...]

    def of(self, world: torch.Tensor, rank: int) -> tuple[str | None, torch.Tensor]:
        """The name of the placement and the part that a rank holds."""
        at = (world == rank).nonzero()[0].tolist()
        mesh = world[tuple(slice(None) if d in self.dims else i for d, i in enumerate(at))]
        part = self.whole
        for dim, placement in zip(self.dims, self.placements, strict=True):
            if isinstance(placement, Shard):
                # As DTensor cuts: evenly rounded up, the last ranks get less or nothing.
                length, size = part.shape[placement.dim], world.shape[dim]
                step = -(-length // size)
                start = min(length, at[dim] * step)
                part = part.narrow(placement.dim, start, min(length, start + step) - start)
        return place_of(Mesh(mesh, rank), self.placements), part


@st.composite
def jobs(draw: st.DrawFn) -> tuple[torch.Tensor, list[Cut]]:
    """A mesh of all ranks, and gradients on it or on some of its dimensions."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    world = torch.arange(math.prod(shape)).reshape(shape)
    cuts = []
    for _ in range(draw(st.integers(1, 4))):
        sizes = draw(st.lists(st.integers(1, 7), min_size=1, max_size=2))
        numbers = draw(st.lists(st.floats(-100, 100), min_size=math.prod(sizes), max_size=math.prod(sizes)))
        dims = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1).map(lambda s: tuple(sorted(s))))
        one = st.one_of(st.just(Replicate()), st.integers(0, len(sizes) - 1).map(lambda dim: Shard(dim)))
        placements = tuple(draw(st.tuples(*[one for _ in dims])))
        cuts.append(Cut(torch.tensor(numbers, dtype=torch.float64).reshape(sizes), dims, placements))
    return world, cuts


def parts_of(world: torch.Tensor, cuts: list[Cut]) -> Parts:
    parts: Parts = {}
    for rank in range(world.numel()):
        held = parts.setdefault(rank, {})
        for cut in cuts:
            name, part = cut.of(world, rank)
            assert name is not None
            held[PREFIX + name] = held.get(PREFIX + name, 0.0) + float(part.square().sum())
    return parts


@given(jobs())
def test_any_cut_adds_up_to_the_whole(job: tuple[torch.Tensor, list[Cut]]) -> None:
    world, cuts = job
    whole = math.sqrt(sum(float(cut.whole.square().sum()) for cut in cuts))
    assert whole_norm(parts_of(world, cuts), world.numel()) == pytest.approx(whole, rel=1e-9)


@given(jobs(), st.data())
def test_without_a_rank_or_a_part_of_it_nothing_is_said(
    job: tuple[torch.Tensor, list[Cut]], data: st.DataObject
) -> None:
    world, cuts = job
    parts = parts_of(world, cuts)
    rank = data.draw(st.sampled_from(sorted(parts)))
    column = data.draw(st.sampled_from(sorted(parts[rank])))
    without = {r: held for r, held in parts.items() if r != rank}
    assert whole_norm(without, world.numel()) is None
    if world.numel() > 1:
        less = {n: v for n, v in parts[rank].items() if n != column}
        assert whole_norm({**parts, rank: less}, world.numel()) is None


@given(jobs(), st.data())
def test_replicas_that_disagree_are_none(job: tuple[torch.Tensor, list[Cut]], data: st.DataObject) -> None:
    world, cuts = job
    parts = parts_of(world, cuts)
    rank = data.draw(st.sampled_from(sorted(parts)))
    column = data.draw(st.sampled_from(sorted(parts[rank])))
    placement = Placement.of(column)
    assert placement is not None
    total = sum(parts[r][column] for r in parts if placement.first(r) == placement.first(rank))
    for other in (parts[rank][column] + 0.01 * total + 1e-3, math.nan, math.inf):
        changed = {**parts, rank: {**parts[rank], column: other}}
        found = whole_norm(changed, world.numel())
        if placement.size == world.numel():
            assert found is not None  # no second group contradicts it
        else:
            assert found is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_stays_so(value: float) -> None:
    parts = {
        0: {"grad_square/2x1": value, "grad_square/whole": 1.0},
        1: {"grad_square/2x1": 1.0, "grad_square/whole": 1.0},
    }
    found = whole_norm(parts, 2)
    assert found is not None
    assert not math.isfinite(found)
    whole = {rank: {"grad_square/whole": value} for rank in range(2)}
    assert whole_norm(whole, 2) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    "column", [UNKNOWN, "grad_square/", "grad_square/2", "grad_square/0x1", "grad_square/2x1.", "grad_square/3x1"]
)
def test_a_column_that_says_nothing_makes_it_unknown(column: str) -> None:
    parts: Parts = {rank: {"grad_square/whole": 1.0, column: 1.0} for rank in range(2)}
    assert whole_norm(parts, 2) is None


def test_more_ranks_than_the_job_is_said_to_have_are_not_left_out() -> None:
    assert whole_norm({rank: {"grad_square/2x1": 1.0} for rank in range(4)}, 2) is None


def test_optimizers_of_one_round_add_up() -> None:
    parts: Parts = {
        0: {"grad_square/2x1": 1.0, "grad_square/2x1/2": 4.0, "grad_norm": 4.0},
        1: {"grad_square/2x1": 2.0, "grad_square/2x1/2": 2.0, "grad_norm": 4.0},
    }
    assert whole_norm(parts, 2) == 5.0


def _boxes() -> Iterator[tuple[tuple[int, int], ...]]:
    for sizes in product((2, 3, 4), repeat=2):
        for gap in (1, 2, 5):
            yield ((sizes[0], sizes[1] * gap), (sizes[1], 1))


@pytest.mark.parametrize("shape", list(_boxes()))
def test_a_shape_is_named_or_refused_never_misnamed(shape: tuple[tuple[int, int], ...]) -> None:
    for start in range(12):
        ranks = sorted(start + sum(i * s for i, (_, s) in zip(at, shape, strict=True)) for at in _coordinates(shape))
        name = name_of(ranks)
        if name is not None:
            placement = Placement.of(PREFIX + name)
            assert placement is not None
            assert [r for r in range(128) if placement.first(r) == placement.first(start)] == ranks


def _coordinates(shape: tuple[tuple[int, int], ...]) -> Iterator[tuple[int, ...]]:
    return product(*(range(size) for size, _ in shape))


def test_partial_and_irregular_have_no_name() -> None:
    assert place_of(Mesh(torch.arange(4), 1), (Partial(),)) is None
    assert place_of(Mesh(torch.tensor([0, 1, 3]), 1), (Shard(0),)) is None
    assert place_of(Mesh(torch.tensor([2, 3]), 1), (Shard(0),)) is None
    assert place_of(Mesh(torch.tensor([3, 1, 2, 0]), 1), (Shard(0),)) == "4x1"


def directions_of(world: torch.Tensor, cuts: list[Cut], seed: int) -> tuple[Parts, torch.Tensor, torch.Tensor]:
    """What ranks hold of gradients and of the steps and weights that are placed like them, and the whole of both."""
    draw = torch.Generator().manual_seed(seed)
    steps = [
        Cut(torch.randn(cut.whole.shape, generator=draw, dtype=torch.float64), cut.dims, cut.placements) for cut in cuts
    ]
    parts: Parts = {}
    for rank in range(world.numel()):
        held = parts.setdefault(rank, {})
        for cut, step in zip(cuts, steps, strict=True):
            name, g = cut.of(world, rank)
            _, u = step.of(world, rank)
            sums = [
                (g * u).sum(),
                g.square().sum(),
                u.square().sum(),
                u.square().sum(),
                (g * u).sum(),
                g.square().sum(),
            ]
            for prefix, value in zip((*DIRECTION, *PROMISE), sums, strict=True):
                held[f"{prefix}{name}"] = held.get(f"{prefix}{name}", 0.0) + float(value)
    gradient, update = (torch.cat([cut.whole.reshape(-1) for cut in some]) for some in (cuts, steps))
    return parts, gradient, update


@given(jobs(), st.integers(0, 99), st.sampled_from([None, 0.5, 1.0, 3.0]))
def test_directions_of_any_cut_add_up_to_that_of_the_whole(
    job: tuple[torch.Tensor, list[Cut]], seed: int, more: float | None
) -> None:
    world, cuts = job
    parts, gradient, update = directions_of(world, cuts, seed)
    size = float(gradient.norm())
    found = whole_direction(parts, world.numel(), None if more is None else more * size)
    dot = float(gradient @ update)
    # Where what ranks hold cancels, replicas may differ by more than rounding: nothing is said then.
    if size > 1e-3 and abs(dot) > 1e-3 * size * float(update.norm()):
        assert found["hypergrad_cos"] == pytest.approx(-dot / (size * float(update.norm())), abs=1e-9)
        assert found["predicted_decrease"] == pytest.approx(-dot * (1.0 if more is None else more), rel=1e-6)
    assert found["update_norm"] == found["weight_norm"] == pytest.approx(float(update.norm()), rel=1e-9)


@given(jobs(), st.data())
def test_without_a_rank_no_direction_is_said(job: tuple[torch.Tensor, list[Cut]], data: st.DataObject) -> None:
    world, cuts = job
    parts, _, _ = directions_of(world, cuts, 0)
    rank = data.draw(st.sampled_from(sorted(parts)))
    assert whole_direction({r: held for r, held in parts.items() if r != rank}, world.numel(), None) == {}
    assert whole_direction(parts, 0, None) == {}
    if world.numel() > 1:
        assert whole_direction({**parts, rank: {}}, world.numel(), None) == {}


def test_what_is_not_finite_is_no_direction() -> None:
    parts = {rank: {f"{prefix}2x1": math.inf for prefix in (*DIRECTION, *PROMISE)} for rank in range(2)}
    assert whole_direction(parts, 2, None) == {}
    zero = {rank: {f"{prefix}2x1": 0.0 for prefix in DIRECTION} for rank in range(2)}
    assert whole_direction(zero, 2, None) == {"update_norm": 0.0, "weight_norm": 0.0}


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({}, 3.0),  # the job had clipped to a third
        ({"grad_square/2x1/2": 1.0}, 1.0),  # the norm is that of two optimizers
        ({"grad_norm": 1.0}, 1.0),
        ({"promise_grad/2x1": None}, 1.0),  # of pieces nobody knows
        ({"promise_dot/whole": 0.0}, 1.0),
        ({UNKNOWN: 1.0}, None),  # it may have clipped, by what has no norm
    ],
)
def test_a_promise_is_made_whole_only_where_its_gradients_are_those_of_the_norm(
    beside: dict[str, float | None], expected: float | None
) -> None:
    told = {"promise_dot/2x1": -0.5, "promise_grad/2x1": 2.0, **beside}
    held = {name: value for name, value in told.items() if value is not None}
    found = whole_direction({0: held, 1: held}, 2, 6.0).get("predicted_decrease")
    assert found == (None if expected is None else pytest.approx(expected))
