from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from steersman.agent.probe import packet


def sgd(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.05)


def test_one_row_a_step_with_what_the_step_used(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    losses, norms = [], []
    for _ in range(25):
        losses.append(work.step())
        norms.append(math.sqrt(sum(float(p.grad.pow(2).sum()) for p in work.model.parameters())))
    rows = receiver.take().rows
    assert [row["seq"] for row in rows] == list(range(1, 26))
    assert [row["step"] for row in rows] == list(range(25))
    assert [row["loss"] for row in rows] == losses
    assert [row["grad_norm"] for row in rows] == pytest.approx(norms, rel=1e-5)
    assert {row["lr/0"] for row in rows} == {0.05}
    assert {row["backward_calls"] for row in rows} == {1.0}
    assert all("own_lr/0" not in row for row in rows)
    assert all(row["step_time"] > 0 for row in rows[1:])
    assert "step_time" not in rows[0]
    assert probe.failures == 0


def test_hello_says_who_this_is(probe: Any, receiver: Any, job: Any) -> None:
    job(sgd).step()
    (hello,) = receiver.of(packet.HELLO)
    assert hello["job"] == "test"
    assert hello["optimizers"] == [
        {"class_name": "torch.optim.sgd.SGD", "groups": ["0"], "parameters": 161, "overlay": "effective"}
    ]


def test_norm_is_taken_before_the_job_clips(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    before = []
    for _ in range(5):
        work.optimizer.zero_grad()
        work.loss().backward()
        before.append(float(torch.nn.utils.clip_grad_norm_(work.model.parameters(), 0.01)))
        work.optimizer.step()
    assert [row["grad_norm"] for row in receiver.take().rows] == pytest.approx(before, rel=1e-6)
    assert min(before) > 0.01


def test_clipping_a_part_is_not_the_norm_of_all(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    work.loss().backward()
    torch.nn.utils.clip_grad_norm_(work.model[0].parameters(), 1e9)
    work.optimizer.step()
    whole = math.sqrt(sum(float(p.grad.pow(2).sum()) for p in work.model.parameters()))
    assert receiver.take().rows[0]["grad_norm"] == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("divide", [True, False])
def test_accumulated_losses_give_their_mean_where_a_division_shows_and_their_sum_else(
    divide: bool, probe: Any, receiver: Any, job: Any
) -> None:
    work = job(sgd)
    losses = []
    for _ in range(4):
        loss = work.loss()
        losses.append(loss.item())
        (loss / 4 if divide else loss).backward()
    work.optimizer.step()
    (row,) = receiver.take().rows
    assert row["backward_calls"] == 4
    assert row["loss"] == pytest.approx(sum(losses) / (4 if divide else 1), rel=1e-6)


def test_a_scaled_loss_is_reported_unscaled(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    loss = work.loss()
    scaler.scale(loss).backward()
    scaler.step(work.optimizer)
    scaler.update()
    (row,) = receiver.take().rows
    assert row["loss"] == loss.item()
    whole = math.sqrt(sum(float(p.grad.pow(2).sum()) for p in work.model.parameters()))
    assert row["grad_norm"] == pytest.approx(whole, rel=1e-5)


def test_validation_is_found_where_a_loss_runs_without_grad(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    work.step()
    found = []
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            for _ in range(3):
                found.append(work.loss().item())
    work.step()
    work.step()
    rows = receiver.take().rows
    assert rows[1]["val_loss"] == pytest.approx(sum(found) / 6, rel=1e-6)
    assert "val_loss" not in rows[0]
    assert "val_loss" not in rows[2]


def test_a_scripts_own_validation_loss_wins(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    work.step()
    with torch.no_grad():
        work.loss()
    probe.log(val_loss=0.25)
    probe.log(val_loss=torch.tensor(0.5), set="test")
    probe.log(accuracy=0.9)
    work.step()
    row = receiver.take().rows[1]
    assert (row["val_loss"], row["val_loss/test"]) == (0.25, 0.5)
    assert [event["kind"] for event in receiver.of(packet.EVENT)] == ["log_refused"]


def test_nonfinite_values_are_values(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    work.inputs[:] = math.nan
    work.step()
    (row,) = receiver.take().rows
    assert math.isnan(row["loss"])
    assert math.isnan(row["grad_norm"])


def test_gradients_under_a_closure_are_read_when_it_has_returned(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    losses: list[float] = []

    def closure() -> torch.Tensor:
        work.optimizer.zero_grad()
        loss: torch.Tensor = work.loss()
        loss.backward()
        losses.append(loss.item())
        return loss

    norms = []
    for _ in range(3):
        returned = work.optimizer.step(closure)
        assert returned.item() == losses[-1]
        norms.append(math.sqrt(sum(float(p.grad.pow(2).sum()) for p in work.model.parameters())))
    rows = receiver.take().rows
    assert [row["loss"] for row in rows] == losses
    assert [row["grad_norm"] for row in rows] == pytest.approx(norms, rel=1e-5)


def test_two_optimizers_give_one_row_a_round(probe: Any, receiver: Any, job: Any) -> None:
    work = job(lambda params: torch.optim.SGD(params[:2], lr=0.05))
    second = torch.optim.Adam(list(work.model.parameters())[2:], lr=0.001)
    losses = []
    for _ in range(4):
        second.zero_grad()
        work.optimizer.zero_grad()
        loss = work.loss()
        loss.backward()
        losses.append(loss.item())
        work.optimizer.step()
        second.step()
    probe.close()
    rows = receiver.take().rows
    # The first row was out before the second optimizer was known.
    assert [row["loss"] for row in rows] == losses
    assert [(row["lr/0"], row["lr/1.0"]) for row in rows[1:]] == [(0.05, 0.001)] * 3
    assert [row["seq"] for row in rows] == [1, 2, 3, 4]


def test_steps_without_backward_are_rows_too(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    for _ in range(3):
        grads = torch.autograd.grad(work.loss(), list(work.model.parameters()))
        for param, grad in zip(work.model.parameters(), grads, strict=True):
            param.grad = grad
        work.optimizer.step()
    rows = receiver.take().rows
    assert len(rows) == 3
    assert all("loss" not in row and row["grad_norm"] > 0 for row in rows)


def test_a_validation_loss_after_the_last_step_is_not_lost(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    for _ in range(3):
        work.step()
    probe.log(val_loss=0.25)
    probe.close()
    rows = receiver.take().rows
    assert [row["seq"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1] == {"step": 2, "seq": 4, "val_loss": 0.25}
    assert receiver.raw[-1].time >= receiver.raw[-2].time > 0


def test_nothing_more_is_sent_where_no_validation_waits(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    work.step()
    probe.log(val_loss=0.25)
    work.step()
    probe.close()
    assert [row["step"] for row in receiver.take().rows] == [0, 1]


def test_a_validation_loss_without_any_step_makes_no_row(probe: Any, receiver: Any, job: Any) -> None:
    probe.see(job(sgd).optimizer)
    probe.log(val_loss=0.25)
    probe.close()
    assert receiver.take().rows == []
    assert probe.failures == 0


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_a_norm_whose_square_has_no_room_is_right(size: float, probe: Any, receiver: Any) -> None:
    params = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(4, 5))]
    optimizer = torch.optim.SGD(params, lr=1e-30)
    for param in params:
        param.grad = torch.full_like(param, size)
    optimizer.step()
    assert receiver.take().rows[0]["grad_norm"] == pytest.approx(size * math.sqrt(23), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_kind_of_number_is_read_where_it_is(dtype: torch.dtype, probe: Any, receiver: Any) -> None:
    param = torch.nn.Parameter(torch.full((6,), 0.5, dtype=dtype))
    optimizer = torch.optim.SGD([param], lr=0.1)
    for _ in range(12):
        optimizer.zero_grad()
        (param * 2).sum().backward()
        optimizer.step()
    rows = receiver.take().rows
    assert rows[0]["loss"] == 6.0
    assert rows[0]["grad_norm"] == pytest.approx(math.sqrt(24), rel=1e-2)
    assert rows[10]["hypergrad_cos"] == pytest.approx(1.0, rel=1e-2)
    assert probe.failures == 0


def test_gradients_of_many_large_tensors_have_the_same_norm(probe: Any, receiver: Any) -> None:
    params = [torch.nn.Parameter(torch.zeros(400_000)), torch.nn.Parameter(torch.zeros(400_000))]
    optimizer = torch.optim.SGD(params, lr=0.1)
    for size in (1.0, 1e25):
        for param in params:
            param.grad = torch.full_like(param, size)
        optimizer.step()
    assert [row["grad_norm"] for row in receiver.take().rows] == pytest.approx(
        [math.sqrt(8e5), 1e25 * math.sqrt(8e5)], rel=1e-4
    )


def test_an_optimizer_met_later_is_told_of(probe: Any, receiver: Any, job: Any) -> None:
    work, other = job(sgd), job(sgd, seed=1)
    work.step()
    other.step()
    work.until(lambda: len(receiver.of(packet.HELLO)) == 2)
    assert [len(hello["optimizers"]) for hello in receiver.of(packet.HELLO)] == [1, 2]
