"""Backward calls whose argument is no loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.agent.probe.loops.backward import NotScalar, Weighted, WithoutBackward
from tests.agent.probe.loops.loop import Loop, pairs, ran


@pytest.mark.parametrize("make", [NotScalar, Weighted, WithoutBackward])
def test_it_has_no_loss_but_a_norm(make: Any, probe: Any, receiver: Any) -> None:
    for truth, row in pairs(ran(make, 8), receiver.take().rows):
        assert "loss" not in row
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-5)


def test_a_gradient_given_to_the_method_is_seen(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.loss().backward(gradient=torch.tensor(2.0))
    loop.optimizer.step()
    assert "loss" not in receiver.take().rows[0]


def test_a_gradient_given_as_a_keyword_is_seen(probe: Any, receiver: Any) -> None:
    loop = Loop()
    torch.autograd.backward(tensors=loop.loss(), grad_tensors=torch.tensor(2.0))
    loop.optimizer.step()
    assert "loss" not in receiver.take().rows[0]


def test_two_losses_in_one_call_are_their_sum_and_said_to_be(probe: Any, receiver: Any, said: Any) -> None:
    loop = Loop()
    losses = []
    for _ in range(3):
        loop.optimizer.zero_grad()
        both = [loop.loss(), loop.loss()]
        losses.append(sum(one.item() for one in both))
        torch.autograd.backward(both)
        loop.optimizer.step()
    rows = receiver.take().rows
    assert [row["loss"] for row in rows] == pytest.approx(losses, rel=1e-6)
    assert {row["backward_calls"] for row in rows} == {1.0}
    (event,) = said("loss_is_a_sum")
    assert "of the 2 losses that backward was called on" in event["message"]


def test_a_scale_is_undone_for_each_of_two_losses(probe: Any, receiver: Any) -> None:
    loop = Loop()
    scaler = torch.amp.GradScaler(device="cpu", init_scale=64.0)
    both = [loop.loss(), loop.loss()]
    torch.autograd.backward(scaler.scale(both))
    scaler.step(loop.optimizer)
    assert receiver.take().rows[0]["loss"] == pytest.approx(sum(one.item() for one in both), rel=1e-6)


def test_a_loss_and_what_is_none_in_one_call_are_no_loss(probe: Any, receiver: Any) -> None:
    loop = Loop()
    errors = loop.model(loop.inputs[:4])
    torch.autograd.backward([loop.loss(), errors], [None, torch.ones_like(errors)])
    loop.optimizer.step()
    assert "loss" not in receiver.take().rows[0]


def test_a_loss_beside_one_that_is_none_is_the_loss(probe: Any, receiver: Any) -> None:
    loop = Loop()
    errors = loop.model(loop.inputs[:4])
    errors.backward(torch.ones_like(errors))
    loss = loop.loss()
    loss.backward()
    loop.optimizer.step()
    assert receiver.take().rows[0]["loss"] == loss.item()


def test_a_tensor_of_one_number_is_a_loss(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loss = loop.loss().reshape(1)
    loss.backward()
    loop.optimizer.step()
    assert receiver.take().rows[0]["loss"] == loss.item()


def test_backward_only_for_some_inputs_is_a_loss(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loss = loop.loss()
    loss.backward(inputs=loop.params)
    loop.optimizer.step()
    assert receiver.take().rows[0]["loss"] == loss.item()


def test_backward_twice_through_one_graph_is_twice_that_loss(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loss = loop.loss()
    loss.backward(retain_graph=True)
    loss.backward()
    loop.optimizer.step()
    (row,) = receiver.take().rows
    assert row["loss"] == pytest.approx(2 * loss.item(), rel=1e-6)
    assert row["backward_calls"] == 2


def test_a_backward_that_fails_is_the_scripts_affair_and_no_loss(probe: Any, receiver: Any, said: Any) -> None:
    loop = Loop()
    with pytest.raises(RuntimeError):
        torch.ones(()).backward()
    loop.round()
    (row,) = receiver.take().rows
    assert row["loss"] == loop.truth[0].loss
    assert said("probe_") == []
