"""Evaluation loops inside training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.agent.probe.loops.changing import Evaluating
from tests.agent.probe.loops.closures import Closure
from tests.agent.probe.loops.loop import Loop, pairs, ran
from torch.nn import functional


def test_the_validation_loss_is_found_and_stands_on_the_next_sample(probe: Any, receiver: Any) -> None:
    loop = ran(Evaluating, 12)
    found = {int(row["step"]): row["val_loss"] for row in receiver.take().rows if "val_loss" in row}
    assert found == pytest.approx(loop.validated, rel=1e-6)


def test_it_is_not_mixed_into_the_loss(probe: Any, receiver: Any) -> None:
    for truth, row in pairs(ran(Evaluating, 12), receiver.take().rows):
        assert row["loss"] == truth.loss
        assert row["backward_calls"] == 1


def test_an_evaluation_between_two_accumulated_calls_is_not_mixed_in(probe: Any, receiver: Any) -> None:
    loop = Loop()
    losses = []
    for _ in range(2):
        loss = loop.loss()
        (loss / 2).backward()
        losses.append(loss.item())
        with torch.no_grad():
            loop.loss()
    loop.optimizer.step()
    (row,) = receiver.take().rows
    assert row["loss"] == pytest.approx(sum(losses) / 2, rel=1e-6)


def test_an_evaluation_within_a_closure_is_not_mixed_in(probe: Any, receiver: Any) -> None:
    class Both(Closure):
        def loss(self, model: Any = None) -> torch.Tensor:
            with torch.no_grad():
                super().loss()
            return super().loss()

    for truth, row in pairs(ran(lambda: Both(lambda p: torch.optim.SGD(p, lr=0.05)), 6), receiver.take().rows):
        assert row["loss"] == truth.loss


def test_one_loss_made_of_others_counts_once(probe: Any, receiver: Any) -> None:
    """Some of torch's loss functions call another of them."""
    loop = Loop()
    loop.round()
    with torch.no_grad():
        module = torch.nn.CrossEntropyLoss()
        value = module(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    loop.round()
    assert receiver.take().rows[1]["val_loss"] == value.item()


def test_losses_that_are_not_reduced_are_no_validation_loss(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.round()
    with torch.no_grad():
        functional.mse_loss(torch.ones(4), torch.zeros(4), reduction="none")
    loop.round()
    assert "val_loss" not in receiver.take().rows[1]


def test_a_model_that_is_evaluated_with_grad_is_no_training_loss(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.loss()
    loop.round()
    (row,) = receiver.take().rows
    assert row["loss"] == loop.truth[0].loss
    assert "val_loss" not in row


def test_a_loss_without_grad_inside_the_training_step_is_not_told_from_validation(probe: Any, receiver: Any) -> None:
    """A teacher's or a target network's loss: documented as what it is, found, until the script logs its own."""
    loop = Loop()
    loop.round()
    with torch.no_grad():
        loop.loss()
    probe.log(val_loss=0.5)
    loop.round()
    assert receiver.take().rows[1]["val_loss"] == 0.5
