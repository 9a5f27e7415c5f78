"""Evaluation loops inside training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.agent.probe.loops.changing import Evaluating
from tests.agent.probe.loops.closures import Closure
from tests.agent.probe.loops.loop import Loop, pairs, ran
from tests.agent.probe.loops.several import Gan
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


def test_batches_of_different_sizes_weigh_as_many_as_they_have_examples(probe: Any, receiver: Any) -> None:
    """As Lightning averages, and a script that sums up `loss * len(batch)`."""
    loop = Loop()
    loop.round()
    with torch.no_grad():
        for first in range(0, 256, 100):
            functional.mse_loss(loop.model(loop.inputs[first : first + 100]), loop.targets[first : first + 100])
        whole = functional.mse_loss(loop.model(loop.inputs), loop.targets, reduction="none").mean().item()
    loop.round()
    assert receiver.take().rows[1]["val_loss"] == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("unknown", [0, 1, 2])
def test_where_a_call_does_not_show_its_size_each_weighs_the_same(unknown: int, probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.round()
    sizes, values = [2, 4, 8], []
    with torch.no_grad():
        for index, size in enumerate(sizes):
            shape = () if index == unknown else (size,)
            values.append(functional.mse_loss(torch.full(shape, float(size)), torch.zeros(shape)).item())
    loop.round()
    assert receiver.take().rows[1]["val_loss"] == pytest.approx(sum(values) / 3, rel=1e-6)


class Teacher(Loop):
    """A teacher's loss beside the loss of every round, as for a log."""

    def loss(self, model: Any = None) -> torch.Tensor:
        with torch.no_grad():
            super().loss()
        return super().loss(model)


def test_a_loss_without_grad_of_every_round_is_no_validation_loss(probe: Any, receiver: Any, said: Any) -> None:
    ran(Teacher, 12)
    assert [row["step"] for row in receiver.take().rows if "val_loss" in row] == [0]
    (event,) = said("val_loss_unknown")
    assert "in every round" in event["message"]


def test_nor_is_one_of_every_second_round_of_two_optimizers(probe: Any, receiver: Any, said: Any) -> None:
    loop = Gan()
    for _ in range(6):
        with torch.no_grad():
            functional.mse_loss(torch.ones(4), torch.zeros(4))
        loop.round()
    probe.close()
    assert len([row for row in receiver.take().rows if "val_loss" in row]) <= 1
    assert len(said("val_loss_unknown")) == 1


def test_what_a_script_logs_stands_whatever_else_comes(probe: Any, receiver: Any, said: Any) -> None:
    loop = Teacher()
    for _ in range(6):
        probe.log(val_loss=0.5)
        loop.round()
    assert [row["val_loss"] for row in receiver.take().rows] == [0.5] * 6
    assert said("val_loss_unknown") == []


def test_a_validation_every_second_step_is_one(probe: Any, receiver: Any, said: Any) -> None:
    loop = Loop()
    for index in range(12):
        if index % 2:
            with torch.no_grad():
                loop.loss()
        loop.round()
    assert [row["step"] for row in receiver.take().rows if "val_loss" in row] == [1, 3, 5, 7, 9, 11]
    assert said("val_loss_unknown") == []


def test_one_more_at_the_end_is_one_as_well(probe: Any, receiver: Any) -> None:
    loop = Loop()
    for index in range(6):
        if index == 5:
            with torch.no_grad():
                loop.loss()
        loop.round()
    with torch.no_grad():
        loop.loss()
    probe.close()
    assert [row["step"] for row in receiver.take().rows if "val_loss" in row] == [5, 5]
