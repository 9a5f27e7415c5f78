"""Optimizers that are not torch's own."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from tests.agent.probe.loops.closures import Closure
from tests.agent.probe.loops.loop import Loop, Plain, pairs, ran
from tests.agent.probe.loops.third_party import Lookahead, Sam, ScheduleFree, TwoStepSam


class Chatty(torch.optim.SGD):
    """Its step makes several of its parent's."""

    def step(self, closure: Any = None) -> Any:
        super().step()
        super().step()
        return super().step(closure)


MAKES: dict[str, Any] = {
    "schedule_free": lambda: Plain(lambda params: ScheduleFree(params, lr=0.05)),
    "lookahead": lambda: Plain(lambda params: Lookahead(torch.optim.SGD(params, lr=0.05))),
    "several_of_its_parents_steps": lambda: Plain(lambda params: Chatty(params, lr=0.05)),
    "sam": lambda: Closure(lambda params: Sam(params, lr=0.05)),
}


@pytest.mark.parametrize("name", MAKES)
def test_a_step_within_a_step_is_the_same_step(name: str, probe: Any, receiver: Any) -> None:
    loop = ran(MAKES[name], 12)
    rows = receiver.take().rows
    assert [row["step"] for row in rows] == list(range(12))
    assert [row["lr/0"] for row in rows] == [0.05] * 12
    assert all("lr/1.0" not in row for row in rows)
    assert [row["loss"] for row in rows] == [truth.loss for truth in loop.truth]


def test_the_second_climb_of_sam_is_not_in_the_next_sample(probe: Any, receiver: Any) -> None:
    ran(MAKES["sam"], 6)
    assert {row["backward_calls"] for row in receiver.take().rows} == {2.0}


def test_sam_in_two_steps_is_one_sample_with_a_sum(probe: Any, receiver: Any, said: Any) -> None:
    for truth, row in pairs(ran(TwoStepSam, 6), receiver.take().rows):
        assert row["loss"] == pytest.approx(truth.loss, rel=1e-6)
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-5)
    assert len(said("loss_is_a_sum")) == 1


@pytest.mark.parametrize("name", ["schedule_free", "lookahead", "sam"])
def test_nobody_looked_at_it_so_an_adjustment_is_refused_by_name(name: str, probe: Any, receiver: Any) -> None:
    loop = MAKES[name]()
    loop.round()
    receiver.command(factor=0.5)
    rounds = 0
    while not receiver.states():
        loop.round()
        rounds += 1
        assert rounds < 10_000
    from steersman.agent.probe import packet

    (ack,) = receiver.of(packet.ACK)
    assert ack["state"] == "refused"
    assert type(loop.optimizer).__name__ in ack["message"]


def test_a_copy_of_an_optimizer_is_another_optimizer(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.round()
    model, optimizer = copy.deepcopy((loop.model, loop.optimizer))
    other = Loop()
    other.model, other.optimizer = model, optimizer
    other.round()
    loop.round()
    probe.close()
    rows = receiver.take().rows
    assert ["lr/1.0" in row for row in rows if "lr/1.0" in row or "lr/0" in row] == [False, True, False]


def test_an_optimizer_can_be_pickled_and_what_comes_back_trains(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.round()
    model, optimizer = pickle.loads(pickle.dumps((loop.model, loop.optimizer)))
    loop.model, loop.optimizer = model, optimizer
    loop.round()
    probe.close()
    assert [row["loss"] for row in receiver.take().rows] == [truth.loss for truth in loop.truth]


def test_a_step_that_the_script_has_wrapped_is_seen(probe: Any, receiver: Any) -> None:
    """As LR schedulers and others do to the instance."""
    loop = Loop()
    original = loop.optimizer.step
    loop.optimizer.step = lambda *args, **kwargs: original(*args, **kwargs)
    for _ in range(3):
        loop.round()
    assert [row["loss"] for row in receiver.take().rows] == [truth.loss for truth in loop.truth]


def test_an_optimizer_that_hides_its_learning_rate_leaves_it_unknown(probe: Any, receiver: Any) -> None:
    class Without(torch.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {})

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for param in group["params"]:
                    param.sub_(param.grad, alpha=0.01)

    loop = Loop()
    loop.optimizer = Without(loop.params)
    losses = []
    for _ in range(8):
        loop.optimizer.zero_grad()
        loss = loop.loss()
        loss.backward()
        losses.append(loss.item())
        loop.optimizer.step()
    rows = receiver.take().rows
    assert [row["loss"] for row in rows] == losses
    assert all(not key.startswith("lr/") for row in rows for key in row)
