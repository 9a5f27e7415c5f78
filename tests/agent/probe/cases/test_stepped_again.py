"""One optimizer that steps more than once between two backward rounds."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from tests.agent.probe.loops.backward import WithoutBackward
from tests.agent.probe.loops.loop import Loop, norm_of, pairs, ran
from tests.agent.probe.loops.several import GroupByGroup, Shared, SteppedTwice


@pytest.mark.parametrize("make", [GroupByGroup, SteppedTwice, Shared])
def test_its_steps_are_one_sample(make: Any, probe: Any, receiver: Any) -> None:
    loop = ran(make, 8)
    probe.close()
    for truth, row in pairs(loop, receiver.take().rows):
        assert row["loss"] == truth.loss
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-6)


def test_each_group_keeps_its_column_whichever_are_hidden(probe: Any, receiver: Any) -> None:
    loop = ran(GroupByGroup, 8)
    probe.close()
    for truth, row in pairs(loop, receiver.take().rows):
        assert [row[f"lr/{index}"] for index in range(3)] == list(truth.lrs)


def test_a_script_that_begins_to_step_twice_loses_one_step_and_no_sample(probe: Any, receiver: Any) -> None:
    loop = Loop()
    for index in range(12):
        loop.round()
        if index >= 6:
            loop.optimizer.step()
    probe.close()
    rows = receiver.take().rows
    assert [row["step"] for row in rows] == list(range(12))
    for truth, row in pairs(loop, rows):
        assert row["loss"] == truth.loss
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-6)


def test_a_validation_between_two_rounds_stands_on_the_sample_after_it(probe: Any, receiver: Any) -> None:
    loop = ran(SteppedTwice, 4)
    with torch.no_grad():
        value = loop.loss().item()
    ran(lambda: loop, 4)
    probe.close()
    found = {int(row["step"]): row["val_loss"] for row in receiver.take().rows if "val_loss" in row}
    assert found == {4: pytest.approx(value, rel=1e-6)}


def test_its_time_is_that_of_the_whole_round(probe: Any, receiver: Any) -> None:
    loop = Loop()
    for _ in range(4):
        loop.round()
        time.sleep(0.02)
        loop.optimizer.step()
    probe.close()
    whole = sum(row.get("step_time", 0.0) for row in receiver.take().rows)
    ends = [row.time for row in receiver.raw]
    assert whole == pytest.approx(ends[-1] - ends[0], abs=0.01)


def test_there_is_no_direction_of_a_round_of_several_steps(probe: Any, receiver: Any) -> None:
    ran(SteppedTwice, 45)
    probe.close()
    assert all("hypergrad_cos" not in row and "predicted_decrease" not in row for row in receiver.take().rows)


def test_a_job_whose_backward_is_no_longer_seen_has_samples_again(probe: Any, receiver: Any) -> None:
    ran(SteppedTwice, 4)
    ran(WithoutBackward, 300)
    probe.close()
    rows = receiver.take().rows
    assert 4 < len(rows) < 304
    assert [row["step"] for row in rows] == list(range(len(rows)))


def test_a_step_whose_backward_ran_in_one_of_several_threads_is_a_sample(probe: Any, receiver: Any) -> None:
    loop = ran(Loop, 3)
    other = probe._capture.threads
    for _ in range(3):
        loop.optimizer.zero_grad()
        loop.loss().backward()
        # As if two threads had called backward, neither of them this one.
        mine = other.popitem()[1]
        other.update({-1: mine, -2: mine})
        loop.optimizer.step()
    probe.close()
    assert [row["step"] for row in receiver.take().rows] == list(range(6))


def test_what_a_scaler_left_out_is_no_part_of_the_round_before(probe: Any, receiver: Any) -> None:
    loop = Shared()
    scaler = torch.amp.GradScaler(device="cpu", init_scale=4.0, growth_interval=10**6)
    for index in range(6):
        loop.optimizer.zero_grad()
        scaler.scale(loop.loss()).backward()
        if index == 3:
            loop.params[0].grad[0, 0] = float("inf")  # type: ignore[index]
        for optimizer in (loop.optimizer, loop.second):
            scaler.step(optimizer)
        scaler.update()
    probe.close()
    rows = receiver.take().rows
    assert len(rows) == 6
    assert ["lr/0" in row for row in rows] == [index != 3 for index in range(6)]


def test_gradients_that_two_optimizers_share_count_once(probe: Any, receiver: Any) -> None:
    loop = Shared()
    whole = []
    for _ in range(4):
        loop.round()
        whole.append(norm_of(loop.params))
    probe.close()
    assert [row["grad_norm"] for row in receiver.take().rows] == pytest.approx(whole, rel=1e-6)
