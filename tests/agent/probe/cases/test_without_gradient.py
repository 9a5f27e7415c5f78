"""Parameters without a gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.agent.probe.loops.loop import Loop, norm_of, pairs, ran
from tests.agent.probe.loops.sparse import WithoutGradient


def test_the_norm_is_that_of_the_gradients_that_are_there(probe: Any, receiver: Any) -> None:
    for truth, row in pairs(ran(WithoutGradient, 24), receiver.take().rows):
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-5)


def test_a_step_without_any_gradient_has_no_norm(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.optimizer.step()
    loop.round()
    rows = receiver.take().rows
    assert len(rows) == 2
    assert "grad_norm" not in rows[0]
    assert "loss" not in rows[0]


def test_a_step_without_backward_is_part_of_the_round_before(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.round()
    whole = norm_of(loop.params)
    loop.optimizer.zero_grad()
    loop.optimizer.step()
    (row,) = receiver.take().rows
    assert row["grad_norm"] == pytest.approx(whole, rel=1e-6)


def test_a_direction_is_compared_only_where_the_same_parameters_had_gradients(probe: Any, receiver: Any) -> None:
    ran(WithoutGradient, 41)
    rows = receiver.take().rows
    # The layer that every other batch leaves out is in one of two successive steps.
    assert all("hypergrad_cos" not in row for row in rows)


def test_gradients_of_several_kinds_of_number_have_one_norm(probe: Any, receiver: Any) -> None:
    params = [torch.nn.Parameter(torch.ones(5, dtype=kind)) for kind in (torch.float32, torch.float64, torch.bfloat16)]
    optimizer = torch.optim.SGD(params, lr=0.01, foreach=False)
    for param in params:
        param.grad = torch.full_like(param, 2.0)
    optimizer.step()
    (row,) = receiver.take().rows
    assert row["grad_norm"] == pytest.approx(math.sqrt(15 * 4.0), rel=1e-6)


def test_the_kind_of_number_may_change_in_mid_run(probe: Any, receiver: Any, said: Any) -> None:
    loop = Loop()
    for _ in range(12):
        loop.round()
    loop.model.to(torch.bfloat16)
    loop.inputs, loop.targets = loop.inputs.bfloat16(), loop.targets.bfloat16()
    for _ in range(12):
        loop.round()
    for truth, row in pairs(loop, receiver.take().rows):
        assert row["loss"] == pytest.approx(truth.loss, rel=1e-2)
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-2)
    assert said("probe_") == []


def test_a_gradient_with_a_complex_number_is_unknown_or_right(probe: Any, receiver: Any, said: Any) -> None:
    param = torch.nn.Parameter(torch.ones(3, dtype=torch.complex64))
    optimizer = torch.optim.SGD([param], lr=0.01)
    for _ in range(12):
        param.grad = torch.full_like(param, 3 + 4j)
        optimizer.step()
    for row in receiver.take().rows:
        assert row.get("grad_norm", math.sqrt(75)) == pytest.approx(math.sqrt(75), rel=1e-5)
    assert said("probe_") == []


def test_an_empty_parameter_is_no_trouble(probe: Any, receiver: Any, said: Any) -> None:
    params = [torch.nn.Parameter(torch.zeros(0)), torch.nn.Parameter(torch.ones(3))]
    optimizer = torch.optim.SGD(params, lr=0.01)
    for _ in range(12):
        for param in params:
            param.grad = torch.ones_like(param)
        optimizer.step()
    rows = receiver.take().rows
    assert [row["grad_norm"] for row in rows] == pytest.approx([norm_of(params)] * 12)
    assert said("probe_") == []


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_the_norm_of_numbers_of_two_bytes_has_more_digits_than_they(kind: Any, probe: Any, receiver: Any) -> None:
    params = [torch.nn.Parameter(torch.ones(33, dtype=kind)) for _ in range(3)]
    optimizer = torch.optim.SGD(params, lr=0.01)
    for index, param in enumerate(params):
        param.grad = torch.full_like(param, 1.0 + index / 8)
    whole = norm_of(params)
    optimizer.step()
    (row,) = receiver.take().rows
    assert row["grad_norm"] == pytest.approx(whole, rel=1e-6)


def test_a_gradient_of_a_kind_of_its_own_is_said_to_be_why(probe: Any, receiver: Any, said: Any) -> None:
    class Odd(torch.Tensor):
        pass

    param = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([param], lr=0.1)
    for _ in range(3):
        param.grad = torch.ones(3).as_subclass(Odd)
        optimizer.step()
    assert all("grad_norm" not in row for row in receiver.take().rows)
    (event,) = said("norm_unknown")
    assert "a gradient is a Odd" in event["message"]
