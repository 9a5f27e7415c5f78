"""Clipping: the norm comes from the job's own call, before and after."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.agent.probe.loops.clipped import Clipped
from tests.agent.probe.loops.loop import Loop, norm_of, pairs, ran
from tests.agent.probe.loops.several import Gan, GroupByGroup


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


def _rounds(clip: Any, rounds: int = 4) -> list[float]:
    """Some rounds in which the job clips so, and the norm before it in each."""
    loop, norms = Loop(), []
    for _ in range(rounds):
        loop.optimizer.zero_grad()
        loop.loss().backward()
        norms.append(norm_of(loop.params))
        clip(loop)
        loop.optimizer.step()
    return norms


def test_a_generator_given_to_the_second_half_of_clipping_is_clipped_and_seen(probe: Any, receiver: Any) -> None:
    left = []

    def clip(loop: Loop) -> None:
        total = torch.nn.utils.get_total_norm([p.grad for p in loop.params if p.grad is not None])
        torch.nn.utils.clip_grads_with_norm_(loop.model.parameters(), 0.1, total)
        left.append(norm_of(loop.params))

    norms = _rounds(clip)
    rows = receiver.take().rows
    assert [row["grad_norm"] for row in rows] == pytest.approx(norms, rel=1e-6)
    assert [row["clipped_norm"] for row in rows] == pytest.approx(left, rel=1e-5)
    assert left == pytest.approx([0.1] * 4, rel=1e-4)


def test_of_two_clips_the_first_has_the_norm_before(probe: Any, receiver: Any) -> None:
    def clip(loop: Loop) -> None:
        torch.nn.utils.clip_grad_norm_(loop.params, 0.3)
        torch.nn.utils.clip_grad_norm_(loop.params, 0.1)

    norms = _rounds(clip)
    rows = receiver.take().rows
    assert [row["grad_norm"] for row in rows] == pytest.approx(norms, rel=1e-6)
    assert [row["clipped_norm"] for row in rows] == pytest.approx([0.1] * 4, rel=1e-4)


def test_after_a_clip_by_another_norm_it_is_unknown_and_said_once(probe: Any, receiver: Any, said: Any) -> None:
    _rounds(lambda loop: torch.nn.utils.clip_grad_norm_(loop.params, 0.01, norm_type=float("inf")))
    assert all("grad_norm" not in row and "clipped_norm" not in row for row in receiver.take().rows)
    (event,) = said("norm_unknown")
    assert "another norm than the 2-norm" in event["message"]


def test_gradients_of_which_a_part_is_clipped_have_the_norm_of_all(probe: Any, receiver: Any) -> None:
    norms = _rounds(lambda loop: torch.nn.utils.clip_grad_norm_(loop.model[0].parameters(), 0.1))
    rows = receiver.take().rows
    assert [row["grad_norm"] for row in rows] == pytest.approx(norms, rel=1e-6)
    assert all("clipped_norm" not in row for row in rows)


def test_a_part_that_is_clipped_again_with_all_leaves_it_unknown(probe: Any, receiver: Any, said: Any) -> None:
    def clip(loop: Loop) -> None:
        torch.nn.utils.clip_grad_norm_(loop.model[0].parameters(), 0.1)
        torch.nn.utils.clip_grad_norm_(loop.params, 0.1)

    _rounds(clip)
    assert all("grad_norm" not in row for row in receiver.take().rows)
    assert "again together with others" in said("norm_unknown")[0]["message"]


def test_a_norm_that_is_also_that_of_others_is_not_taken(probe: Any, receiver: Any, said: Any) -> None:
    """Clipping by the gradients of a whole model, of which the optimizer has a part."""
    loop = Loop()
    optimizer = torch.optim.SGD(loop.model[0].parameters(), lr=0.05)
    for _ in range(4):
        loop.model.zero_grad()
        loop.loss().backward()
        torch.nn.utils.clip_grad_norm_(loop.params, 0.1)
        optimizer.step()
    assert all("grad_norm" not in row and "clipped_norm" not in row for row in receiver.take().rows)
    assert "which the step does not use" in said("norm_unknown")[0]["message"]


def test_a_clip_before_the_last_backward_of_a_round_leaves_it_unknown(probe: Any, receiver: Any, said: Any) -> None:
    loop = Loop()
    for _ in range(3):
        loop.optimizer.zero_grad()
        loop.loss().backward()
        torch.nn.utils.clip_grad_norm_(loop.params, 0.1)
        loop.loss().backward()
        loop.optimizer.step()
    assert all("grad_norm" not in row for row in receiver.take().rows)
    assert "between two backward calls" in said("norm_unknown")[0]["message"]


@pytest.mark.parametrize("apart", [False, True])
def test_what_two_optimizers_use_is_clipped_together_or_apart(apart: bool, probe: Any, receiver: Any) -> None:
    loop, norms = Gan(), []
    for _ in range(4):
        inputs, targets = loop.batch()
        for optimizer in (loop.optimizer, loop.second):
            optimizer.zero_grad()
        advantage = targets - loop.critic(targets)
        ((loop.model(inputs) * advantage.detach()).mean() + advantage.pow(2).mean()).backward()
        norms.append(norm_of(loop.params))
        for some in (loop.model.parameters(), loop.critic.parameters()) if apart else (loop.params,):
            torch.nn.utils.clip_grad_norm_(some, 0.1)
        loop.optimizer.step()
        loop.second.step()
    probe.close()
    rows = receiver.take().rows
    assert [row["grad_norm"] for row in rows] == pytest.approx(norms, rel=1e-6)
    assert [row.get("clipped_norm") for row in rows] == ([None] * 4 if apart else pytest.approx([0.1] * 4, rel=1e-4))


def test_what_is_clipped_once_for_all_groups_that_are_stepped_one_by_one(probe: Any, receiver: Any) -> None:
    class Both(GroupByGroup):
        def note(self, loss: Any, *optimizers: Any, scale: float = 1.0) -> None:
            super().note(loss, *optimizers, scale=scale)
            torch.nn.utils.clip_grad_norm_(self.params, 0.1)

    loop = ran(Both, 6)
    probe.close()
    for truth, row in pairs(loop, receiver.take().rows):
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-6)
        assert row["clipped_norm"] == pytest.approx(0.1, rel=1e-4)
