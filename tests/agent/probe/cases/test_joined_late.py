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


class CountingTwice(ActorCritic):
    """Two optimizers that count their steps and share a round."""

    def prepare(self) -> None:
        super().prepare()
        self.optimizer = torch.optim.Adam(self.optimizer.param_groups[0]["params"], lr=0.01)
        self.second = torch.optim.Adam(self.second.param_groups[0]["params"], lr=0.01)


class Counting(Loop):
    """Under an optimizer that counts its steps."""

    def prepare(self) -> None:
        self.optimizer = torch.optim.AdamW(self.params, lr=0.05)


def test_steps_go_on_from_the_optimizers_own_count(receiver: Any, start: Callable[..., Any]) -> None:
    loop = Counting()
    for _ in range(7):
        loop.round()
    start(way_in="attach")
    for _ in range(3):
        loop.round()
    rows = receiver.take().rows
    assert [row["step"] for row in rows] == [7, 8, 9]
    assert [row.get("loss") for row in rows] == [None, loop.truth[8].loss, loop.truth[9].loss]


def test_a_job_that_was_resumed_goes_on_from_there_and_its_first_round_is_whole(
    receiver: Any, start: Callable[..., Any]
) -> None:
    before = Counting()
    for _ in range(7):
        before.round()
    start(way_in="run")
    loop = Counting()
    loop.optimizer.load_state_dict(before.optimizer.state_dict())
    loop.round()
    loop.round()
    rows = receiver.take().rows
    assert [row["step"] for row in rows] == [7, 8]
    assert [row["loss"] for row in rows] == [truth.loss for truth in loop.truth]


@pytest.mark.parametrize("count", ["x", float("nan"), float("inf"), -3.0, 1e300, None, torch.zeros(2)])
def test_a_count_that_is_none_is_not_believed(receiver: Any, start: Callable[..., Any], count: Any) -> None:
    loop = Loop()
    loop.round()
    for param in loop.params:
        loop.optimizer.state[param]["step"] = count
    probe = start(way_in="attach")
    loop.round()
    loop.round()
    assert [row["step"] for row in receiver.take().rows] == [0, 1]
    assert probe.failures == 0


def test_a_second_optimizer_of_the_first_round_belongs_to_it_after_an_attachment(
    receiver: Any, start: Callable[..., Any]
) -> None:
    loop = CountingTwice()
    for _ in range(4):
        loop.round()
    probe = start(way_in="attach")
    for _ in range(3):
        loop.round()
    probe.close()
    rows = receiver.take().rows
    assert [row["step"] for row in rows] == [4, 5, 6]
    assert all({"lr/0", "lr/1.0"} <= row.keys() for row in rows)


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
