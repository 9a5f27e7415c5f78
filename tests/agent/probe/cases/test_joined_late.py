"""A probe that comes into a round which has begun: what it did not see whole is unknown, never half."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.agent.probe.loops.accumulated import Accumulated
from tests.agent.probe.loops.loop import Loop
from tests.agent.probe.loops.several import ActorCritic

WHOLE = ("loss", "grad_norm", "backward_calls", "val_loss")


def numbers(row: dict[str, float]) -> set[str]:
    return {name for name in WHOLE if name in row}


def test_half_of_an_accumulated_loss_is_no_loss(receiver: Any, start: Callable[..., Any], said: Any) -> None:
    loop = Accumulated()
    loop.optimizer.zero_grad()
    for call in range(4):
        if call == 2:
            start(way_in="attach")
        (loop.loss() / 4).backward()
    loop.optimizer.step()
    loop.round()
    first, second = receiver.take().rows
    assert (numbers(first), first["lr/0"]) == (set(), 0.05)
    assert second["loss"] == pytest.approx(loop.truth[0].loss, rel=1e-6)
    assert second["grad_norm"] == pytest.approx(loop.truth[0].norm, rel=1e-6)
    assert said("loss_is_a_sum") == [], "three of four calls are no reason to say that"


def test_gradients_that_were_clipped_before_have_no_norm(receiver: Any, start: Callable[..., Any]) -> None:
    loop = Loop()
    loop.loss().backward()
    torch.nn.utils.clip_grad_norm_(loop.params, 0.01)
    start(way_in="attach")
    loop.optimizer.step()
    loop.round()
    first, second = receiver.take().rows
    assert "grad_norm" not in first
    assert second["grad_norm"] == pytest.approx(loop.truth[0].norm, rel=1e-6)


def test_the_second_half_of_an_evaluation_is_no_validation(receiver: Any, start: Callable[..., Any]) -> None:
    loop = Loop()
    with torch.no_grad():
        loop.loss()
        start(way_in="attach")
        loop.loss()
    loop.round()
    with torch.no_grad():
        whole = loop.loss().item()
    loop.round()
    first, second = receiver.take().rows
    assert "val_loss" not in first
    assert second["val_loss"] == whole


def test_one_of_two_optimizers_that_share_a_round_has_not_the_norm_of_both(
    receiver: Any, start: Callable[..., Any]
) -> None:
    loop = ActorCritic()
    loop.optimizer.zero_grad()
    loop.second.zero_grad()
    loop.loss().backward()
    loop.optimizer.step()
    probe = start(way_in="attach")
    loop.second.step()
    for _ in range(2):
        loop.round()
    probe.close()
    rows = receiver.take().rows
    assert [numbers(row) for row in rows[:1]] == [set()]
    assert [row["grad_norm"] for row in rows[1:]] == pytest.approx([t.norm for t in loop.truth[-2:]], rel=1e-5)


def test_a_second_thread_had_begun_its_round_as_well(receiver: Any, start: Callable[..., Any]) -> None:
    one, other = Loop(), Accumulated(seed=1)
    half, go, done = threading.Event(), threading.Event(), threading.Event()

    def train() -> None:
        other.optimizer.zero_grad()
        for call in range(4):
            (other.loss() / 4).backward()
            if call == 1:
                half.set()
                assert go.wait(30)
        other.optimizer.step()
        other.round()
        done.set()

    thread = threading.Thread(target=train)
    thread.start()
    assert half.wait(30)
    probe = start(way_in="attach")
    one.round()
    one.round()
    go.set()
    assert done.wait(30)
    thread.join()
    one.round()
    probe.close()
    rows = receiver.take().rows
    assert [row.get("loss") for row in rows] == [
        None,
        one.truth[1].loss,
        None,
        pytest.approx(other.truth[0].loss, rel=1e-6),
        one.truth[2].loss,
    ]


def test_under_run_the_first_round_is_whole(receiver: Any, start: Callable[..., Any]) -> None:
    start(way_in="run")
    loop = Loop()
    loop.round()
    (row,) = receiver.take().rows
    assert (row["loss"], row["grad_norm"]) == (loop.truth[0].loss, pytest.approx(loop.truth[0].norm, rel=1e-6))
