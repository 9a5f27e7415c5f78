"""Gradient accumulation: several backward calls make one step."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tests.agent.probe.loops.accumulated import Accumulated, AccumulatedRagged, AccumulatedUndivided
from tests.agent.probe.loops.loop import Loop, pairs, ran
from tests.agent.probe.loops.scaled import ScaledAccumulated

from steersman.agent.probe.gathered import Gathered
from steersman.agent.probe.ring import Slot


@pytest.mark.parametrize("make", [Accumulated, ScaledAccumulated])
def test_a_division_by_the_number_of_calls_is_undone(
    make: Callable[[], Loop], probe: Any, receiver: Any, said: Any
) -> None:
    loop = ran(make, 6)
    for truth, row in pairs(loop, receiver.take().rows):
        assert row["loss"] == pytest.approx(truth.loss, rel=1e-6)
        assert row["backward_calls"] == 4
    assert said("loss_is_a_sum") == []


def test_undivided_losses_give_their_sum(probe: Any, receiver: Any) -> None:
    for truth, row in pairs(ran(AccumulatedUndivided, 6), receiver.take().rows):
        assert row["loss"] == pytest.approx(truth.loss, rel=1e-6)


@pytest.mark.parametrize("make", [AccumulatedUndivided, AccumulatedRagged])
def test_a_sum_is_said_to_be_one_and_once(make: Callable[[], Loop], probe: Any, receiver: Any, said: Any) -> None:
    ran(make, 6)
    (event,) = said("loss_is_a_sum")
    assert "sum" in event["message"]


def divided_in_place(loss: torch.Tensor) -> torch.Tensor:
    loss /= 4
    return loss


@pytest.mark.parametrize(
    "divide",
    [
        lambda loss: loss / 4,
        lambda loss: loss / 4.0,
        lambda loss: loss.div(4),
        lambda loss: loss / torch.tensor(4.0),
        lambda loss: (loss / 4).reshape(1),
        lambda loss: loss * 0.25,
        divided_in_place,
    ],
    ids=["int", "float", "div", "tensor", "reshaped", "reciprocal", "in_place"],
)
def test_a_division_is_seen_however_it_is_written(divide: Any, probe: Any, receiver: Any) -> None:
    loop = Loop()
    losses = []
    for _ in range(4):
        loss = loop.loss()
        losses.append(loss.item())
        divide(loss).backward()
    loop.optimizer.step()
    (row,) = receiver.take().rows
    assert row["loss"] == pytest.approx(sum(losses) / 4, rel=1e-6)


def test_a_loss_divided_by_something_else_is_left_alone(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loss = loop.loss()
    (loss / 7).backward()
    loop.optimizer.step()
    (row,) = receiver.take().rows
    assert row["loss"] == pytest.approx(loss.item() / 7, rel=1e-6)


@pytest.mark.parametrize("count", [2, 4, 40])
def test_the_spread_of_divided_losses_is_their_standard_deviation(count: int, probe: Any, receiver: Any) -> None:
    loop = Loop()
    spreads = []
    for _ in range(3):
        losses = []
        for _ in range(count):
            loss = loop.loss()
            losses.append(loss.item())
            (loss / count).backward()
        spreads.append(statistics.stdev(losses))
        loop.optimizer.step()
    assert [row["loss_spread"] for row in receiver.take().rows] == pytest.approx(spreads, rel=1e-4)


def test_the_spread_of_losses_far_from_zero_is_right(probe: Any, receiver: Any) -> None:
    param = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
    optimizer = torch.optim.SGD([param], lr=0.0)
    for offset in (0.0, 1.0, 2.0):
        ((param + 1e9 + offset) / 3).backward()
    optimizer.step()
    assert receiver.take().rows[0]["loss_spread"] == pytest.approx(1.0, rel=1e-4)


def test_the_spread_of_a_loss_that_is_none_is_none(probe: Any, receiver: Any) -> None:
    param = torch.nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([param], lr=0.0)
    for factor in (1.0, float("nan")):
        ((param + factor) / 2).backward()
    optimizer.step()
    assert math.isnan(receiver.take().rows[0]["loss_spread"])


@pytest.mark.parametrize("make", [Loop, AccumulatedUndivided])
def test_without_batches_of_one_loss_there_is_no_spread(make: Callable[[], Loop], probe: Any, receiver: Any) -> None:
    ran(make, 6)
    assert all("loss_spread" not in row for row in receiver.take().rows)


def test_a_backward_that_fails_has_no_part_in_the_spread(probe: Any, receiver: Any) -> None:
    loop = Loop()
    losses = []
    for index in range(4):
        loss = loop.loss()
        if index == 2:
            with pytest.raises(RuntimeError):
                torch.autograd.backward(loss / 4, inputs=[])
        losses.append(loss.item())
        (loss / 4).backward()
    loop.optimizer.step()
    assert receiver.take().rows[0]["loss_spread"] == pytest.approx(statistics.stdev(losses), rel=1e-4)


def on_its_way(*values: float) -> Gathered:
    """What is gathered of so many losses on an accelerator, each divided by their number."""
    gathered = Gathered()
    gathered.calls = gathered.scalars = len(values)
    gathered.divisor = float(len(values))
    gathered.slots = tuple(cast("Slot", SimpleNamespace(values=[value])) for value in values)
    return gathered


def test_losses_that_arrived_from_an_accelerator_have_the_same_spread() -> None:
    assert on_its_way(1.0, 2.0, 3.0).spread() == pytest.approx(3.0)
    assert on_its_way(1.0).spread() is None


def test_losses_of_which_some_were_added_up_there_have_none() -> None:
    gathered = on_its_way(1.0, 2.0, 3.0)
    gathered.slots = gathered.slots[:2]
    assert gathered.spread() is None
