"""Gradient accumulation: several backward calls make one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.agent.probe.loops import (
    Accumulated,
    AccumulatedRagged,
    AccumulatedUndivided,
    Loop,
    ScaledAccumulated,
    pairs,
    ran,
)


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
