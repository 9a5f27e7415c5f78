"""Closures: loss and gradients are those of the closure's first return, and never stale ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.agent.probe.loops.closures import Closure
from tests.agent.probe.loops.loop import Loop, norm_of, pairs, ran

MAKES: dict[str, Any] = {
    "lbfgs": lambda params: torch.optim.LBFGS(params, lr=0.1, max_iter=4),
    "lbfgs_wolfe": lambda params: torch.optim.LBFGS(params, max_iter=4, line_search_fn="strong_wolfe"),
    "sgd": lambda params: torch.optim.SGD(params, lr=0.05),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.01),
    "adamw_fused": lambda params: torch.optim.AdamW(params, lr=0.01, fused=True),
}


@pytest.mark.parametrize("name", MAKES)
def test_loss_and_norm_are_those_of_the_first_return(name: str, probe: Any, receiver: Any) -> None:
    loop = ran(lambda: Closure(MAKES[name]), 10)
    for index, (truth, row) in enumerate(pairs(loop, receiver.take().rows)):
        assert row["loss"] == truth.loss, index
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-5), index


@pytest.mark.parametrize("name", MAKES)
def test_all_backward_calls_of_a_step_are_counted_and_none_in_the_next(name: str, probe: Any, receiver: Any) -> None:
    loop, counted = Closure(MAKES[name]), []
    for _ in range(10):
        before = loop.count
        loop.round()
        counted.append(loop.count - before)
    assert [row["backward_calls"] for row in receiver.take().rows] == counted
    assert (max(counted) > 1) == name.startswith("lbfgs")


def test_a_closure_given_by_name_is_seen(probe: Any, receiver: Any) -> None:
    loop = Loop()

    def closure() -> torch.Tensor:
        loop.optimizer.zero_grad()
        loss = loop.loss()
        loss.backward()
        loop.note(loss)
        return loss

    for _ in range(3):
        loop.optimizer.step(closure=closure)
    for truth, row in pairs(loop, receiver.take().rows):
        assert row["loss"] == truth.loss


def test_the_direction_is_that_of_a_loop_without_closure(start: Any, receiver: Any) -> None:
    """Stale gradients once turned every direction under a closure into 'LR too low'."""
    cosines = []
    for make in (lambda: Loop(), lambda: Closure(lambda params: torch.optim.SGD(params, lr=0.05))):
        before = len(receiver.take().rows)
        probe = start()
        ran(make, 31)
        probe.close()
        rows = receiver.take().rows[before:]
        cosines.append([row["hypergrad_cos"] for row in rows if "hypergrad_cos" in row])
    assert len(cosines[0]) == 3
    assert cosines[1] == pytest.approx(cosines[0], rel=1e-5)


def test_a_closure_that_is_never_called_leaves_loss_and_norm_unknown(probe: Any, receiver: Any) -> None:
    class Deaf(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            return super().step()

    loop = Loop()
    loop.optimizer = Deaf(loop.params, lr=0.05)
    loop.loss().backward()
    loop.optimizer.step(lambda: loop.loss().backward())
    rows = receiver.take().rows
    assert len(rows) == 1
    assert "grad_norm" not in rows[0] or rows[0]["grad_norm"] == pytest.approx(norm_of(loop.params), rel=1e-5)


def test_a_closure_that_runs_no_backward_has_no_loss(probe: Any, receiver: Any) -> None:
    """Lightning returns None from the closure where a training step says that the batch is to be left out."""
    loop = Loop()
    loop.round()
    loop.optimizer.zero_grad()
    loop.optimizer.step(lambda: None)
    loop.round()
    rows = receiver.take().rows
    assert "loss" not in rows[1]
    assert "grad_norm" not in rows[1]
    assert rows[2]["loss"] == loop.truth[1].loss


def test_an_error_in_a_closure_reaches_the_script_and_the_next_step_is_right(probe: Any, receiver: Any) -> None:
    loop = Closure(lambda params: torch.optim.SGD(params, lr=0.05))
    loop.round()

    def broken() -> torch.Tensor:
        loop.loss().backward()
        raise ArithmeticError("the job's own")

    with pytest.raises(ArithmeticError, match="the job's own"):
        loop.optimizer.step(broken)
    loop.round()
    rows = receiver.take().rows
    assert rows[-1]["loss"] == loop.truth[-1].loss
    assert rows[-1]["grad_norm"] == pytest.approx(loop.truth[-1].norm, rel=1e-5)


def test_what_a_step_returns_is_what_the_closure_returned(probe: Any, receiver: Any) -> None:
    loop = Loop()
    marker = torch.tensor(3.0)

    def closure() -> torch.Tensor:
        loop.loss().backward()
        return marker

    assert loop.optimizer.step(closure) is marker
