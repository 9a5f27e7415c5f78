"""Clipping: the norm comes from the job's own call, before and after."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.agent.probe.loops.clipped import Clipped
from tests.agent.probe.loops.loop import Loop, norm_of, pairs, ran


def test_the_norm_is_the_one_before_clipping(probe: Any, receiver: Any) -> None:
    for truth, row in pairs(ran(Clipped, 8), receiver.take().rows):
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-6)


def test_the_norm_after_clipping_is_there_as_well(probe: Any, receiver: Any) -> None:
    loop = ran(Clipped, 8)
    for row, after in zip(receiver.take().rows, loop.after, strict=True):
        assert row["clipped_norm"] == pytest.approx(after, rel=1e-5)


def test_there_is_no_clipped_norm_where_nobody_clips(probe: Any, receiver: Any) -> None:
    ran(Loop, 4)
    assert all("clipped_norm" not in row for row in receiver.take().rows)


def test_a_clip_whose_step_is_left_out_says_nothing_of_the_next(probe: Any, receiver: Any) -> None:
    """A script that leaves a batch out where the norm is too large."""
    loop = Loop()
    norms = []
    for index in range(6):
        loop.optimizer.zero_grad()
        loop.loss().backward()
        norm = float(torch.nn.utils.clip_grad_norm_(loop.params, 0.1))
        if index % 2 == 0:
            norms.append(norm)
            loop.optimizer.step()
    assert [row["grad_norm"] for row in receiver.take().rows] == pytest.approx(norms, rel=1e-6)


def test_clipping_layer_by_layer_gives_the_norm_of_all(probe: Any, receiver: Any) -> None:
    loop = Loop()
    norms = []
    for _ in range(4):
        loop.optimizer.zero_grad()
        loop.loss().backward()
        norms.append(norm_of(loop.params))
        for layer in (loop.model[0], loop.model[2]):
            torch.nn.utils.clip_grad_norm_(layer.parameters(), 0.1)
        loop.optimizer.step()
    assert [row["grad_norm"] for row in receiver.take().rows] == pytest.approx(norms, rel=1e-5)


def test_the_two_halves_of_clipping_count_as_clipping(probe: Any, receiver: Any) -> None:
    loop = Loop()
    norms = []
    for _ in range(4):
        loop.optimizer.zero_grad()
        loop.loss().backward()
        norms.append(norm_of(loop.params))
        total = torch.nn.utils.get_total_norm([p.grad for p in loop.params if p.grad is not None])
        torch.nn.utils.clip_grads_with_norm_(loop.params, 0.1, total)
        loop.optimizer.step()
    assert [row["grad_norm"] for row in receiver.take().rows] == pytest.approx(norms, rel=1e-5)


def test_another_kind_of_norm_is_not_taken_for_this_one(probe: Any, receiver: Any) -> None:
    loop = Loop()
    for _ in range(4):
        loop.optimizer.zero_grad()
        loop.loss().backward()
        whole = norm_of(loop.params)
        largest = float(torch.nn.utils.clip_grad_norm_(loop.params, 1e9, norm_type=float("inf")))
        assert largest < whole
        loop.optimizer.step()
        assert receiver.take().rows[-1]["grad_norm"] == pytest.approx(whole, rel=1e-5)


def test_clipping_values_leaves_the_norm_of_what_the_step_used(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.loss().backward()
    torch.nn.utils.clip_grad_value_(loop.params, 0.01)
    loop.optimizer.step()
    assert receiver.take().rows[0]["grad_norm"] == pytest.approx(norm_of(loop.params), rel=1e-5)


def test_a_norm_of_a_generator_of_parameters_is_taken(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.loss().backward()
    before = norm_of(loop.params)
    torch.nn.utils.clip_grad_norm_((p for p in loop.params), 0.01)
    loop.optimizer.step()
    assert receiver.take().rows[0]["grad_norm"] == pytest.approx(before, rel=1e-6)
