"""Several optimizers: a series each."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from tests.agent.probe.loops.loop import ran
from tests.agent.probe.loops.several import ActorCritic, Gan, SeveralModels


@pytest.mark.parametrize("make", [Gan, SeveralModels])
def test_each_optimizer_has_its_own_lr_series(make: Any, probe: Any, receiver: Any) -> None:
    loop = ran(make, 6)
    probe.close()
    rows = receiver.take().rows
    first, second = rows[0::2], rows[1::2]
    assert {row["lr/0"] for row in first} == {loop.truth[0].lrs[0]}
    assert {row["lr/1.0"] for row in second} == {loop.truth[1].lrs[0]}
    assert all("lr/1.0" not in row for row in first)
    assert all("lr/0" not in row for row in second)


@pytest.mark.parametrize("make", [Gan, SeveralModels])
def test_steps_in_turn_are_samples_of_their_own(make: Any, probe: Any, receiver: Any) -> None:
    loop = ran(make, 6)
    probe.close()
    assert [row["loss"] for row in receiver.take().rows] == [truth.loss for truth in loop.truth]


def test_steps_after_one_backward_are_one_sample_from_the_first_on(probe: Any, receiver: Any) -> None:
    loop = ran(ActorCritic, 6)
    probe.close()
    rows = receiver.take().rows
    assert [(row.get("lr/0"), row.get("lr/1.0")) for row in rows] == [(0.001, 0.004)] * 6
    assert [row["grad_norm"] for row in rows] == pytest.approx([truth.norm for truth in loop.truth], rel=1e-5)


def test_two_losses_for_two_optimizers_that_step_together_are_said_to_be_a_sum(
    probe: Any, receiver: Any, said: Any
) -> None:
    loop = Gan()
    totals = []
    for _ in range(4):
        inputs, targets = loop.batch()
        for optimizer in (loop.optimizer, loop.second):
            optimizer.zero_grad()
        actor = (loop.model(inputs) - targets).pow(2).mean()
        critic = (loop.critic(targets) - 1).pow(2).mean()
        actor.backward()
        critic.backward()
        totals.append(actor.item() + critic.item())
        loop.optimizer.step()
        loop.second.step()
    probe.close()
    assert [row["loss"] for row in receiver.take().rows] == pytest.approx(totals, rel=1e-6)
    assert len(said("loss_is_a_sum")) == 1


def test_one_that_steps_five_times_as_often_keeps_its_own_samples(probe: Any, receiver: Any) -> None:
    loop = Gan()
    for index in range(12):
        optimizer = loop.optimizer if index % 6 == 5 else loop.second
        optimizer.zero_grad()
        inputs, targets = loop.batch()
        loss = (loop.critic(loop.model(inputs)) - targets).pow(2).mean()
        loss.backward()
        loop.note(loss, optimizer)
        optimizer.step()
    probe.close()
    rows = receiver.take().rows
    assert [row["loss"] for row in rows] == [truth.loss for truth in loop.truth]
    assert ["lr/0" in row for row in rows] == [index % 6 != 5 for index in range(12)]


def test_a_chained_step_is_one_sample(probe: Any, receiver: Any) -> None:
    """One step that calls those of several optimizers, as DeepSpeed and composite optimizers do."""
    loop = Gan()
    rows_before = 3
    third = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    for _ in range(rows_before + 3):
        loop.optimizer.zero_grad()
        loss = loop.loss()
        loss.backward()
        for optimizer in (loop.optimizer, loop.second, third):
            optimizer.step()
    probe.close()
    rows = receiver.take().rows
    assert len(rows) == rows_before + 3
    assert [row["step"] for row in rows] == list(range(rows_before + 3))


def in_turns(loop: Any, turns: str, count: int) -> None:
    """A step of the first optimizer for each "0" and of the second for each "1", again and again."""
    for index in range(count):
        optimizer = loop.second if turns[index % len(turns)] == "1" else loop.optimizer
        optimizer.zero_grad()
        inputs, targets = loop.batch()
        (loop.critic(loop.model(inputs)) - targets).pow(2).mean().backward()
        optimizer.step()


@pytest.mark.parametrize("what", ["rows_every", "norm_every"])
@pytest.mark.parametrize("turns", ["01", "0001", "000001", "00000001"])
@pytest.mark.parametrize("every", [2, 4])
def test_what_is_thinned_is_thinned_of_each_alike(every: int, turns: str, what: str, probe: Any, receiver: Any) -> None:
    setattr(probe._steps._budget, what, every)
    count = 192  # the budget itself looks at 200
    in_turns(Gan(), turns, count)
    probe.close()
    rows = [row for row in receiver.take().rows if what == "rows_every" or "grad_norm" in row]
    assert len(rows) == pytest.approx(count / every, rel=0.1)
    second = count / every / len(turns)
    assert sum("lr/1.0" in row for row in rows) == pytest.approx(second, rel=0.1, abs=3)
    steps = [row["step"] for row in rows]
    assert max(b - a for a, b in itertools.pairwise(steps)) <= 2 * every


@pytest.mark.parametrize("every", [1, 2, 4])
def test_thinned_losses_of_a_teacher_are_still_no_validation(every: int, probe: Any, receiver: Any) -> None:
    probe._steps._budget.rows_every = every
    loop = Gan()
    for index in range(96):
        optimizer = loop.second if index % 2 else loop.optimizer
        optimizer.zero_grad()
        inputs, targets = loop.batch()
        with torch.no_grad():
            torch.nn.functional.mse_loss(loop.model(inputs), targets)
        (loop.critic(loop.model(inputs)) - targets).pow(2).mean().backward()
        optimizer.step()
    probe.close()
    assert sum("val_loss" in row for row in receiver.take().rows) <= 1
