"""A checkpoint is loaded in mid-run: the run goes back."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from tests.agent.probe.loops.changing import Resumed
from tests.agent.probe.loops.loop import Loop, pairs, ran


def test_samples_go_on_without_a_hole(probe: Any, receiver: Any) -> None:
    loop = ran(Resumed, 24)
    rows = receiver.take().rows
    assert [row["seq"] for row in rows] == list(range(1, 25))
    for truth, row in pairs(loop, rows):
        assert row["loss"] == truth.loss
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-5)


def test_it_is_said_that_a_state_was_loaded(probe: Any, receiver: Any, said: Any) -> None:
    ran(Resumed, 24)
    (event,) = said("state_loaded")
    assert event["step"] == 14
    # The optimizer's own count, to which the job went back.
    assert "5" in event["message"]


def test_no_direction_is_taken_across_a_loaded_state(probe: Any, receiver: Any) -> None:
    """The weights were put elsewhere between the two steps that are compared."""
    loop = Loop()
    loop.round()
    saved = copy.deepcopy((loop.model.state_dict(), loop.optimizer.state_dict()))
    for _ in range(9):
        loop.round()
    # The next step is the one that would be compared with the last.
    loop.model.load_state_dict(saved[0])
    loop.optimizer.load_state_dict(saved[1])
    loop.round()
    assert all("hypergrad_cos" not in row for row in receiver.take().rows)


def test_the_learning_rate_that_was_loaded_is_reported(probe: Any, receiver: Any) -> None:
    loop = Loop()
    saved = copy.deepcopy(loop.optimizer.state_dict())
    loop.round()
    saved["param_groups"][0]["lr"] = 0.01
    loop.optimizer.load_state_dict(saved)
    loop.round()
    assert [row["lr/0"] for row in receiver.take().rows] == [0.05, 0.01]


def test_an_adjustment_in_force_outlives_the_loading(probe: Any, receiver: Any) -> None:
    loop = Resumed()
    loop.round()
    receiver.command(factor=0.5)
    rounds = 0
    while "settled" not in receiver.states():
        loop.round()
        rounds += 1
        assert rounds < 10_000
    loop.optimizer.load_state_dict(copy.deepcopy(loop.optimizer.state_dict()))
    loop.round()
    row = receiver.take().rows[-1]
    assert (row["lr/0"], row["own_lr/0"]) == (0.005, 0.01)
    assert loop.optimizer.param_groups[0]["lr"] == 0.01


def test_a_checkpoint_holds_nothing_of_ours(probe: Any, receiver: Any) -> None:
    def bytes_of(loop: Any) -> bytes:
        stream = io.BytesIO()
        torch.save([loop.optimizer.state_dict(), loop.model.state_dict()], stream)
        return stream.getvalue()

    watched = bytes_of(ran(Resumed, 12))
    probe.close()
    assert bytes_of(ran(Resumed, 12)) == watched
