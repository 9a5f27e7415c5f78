"""foreach, fused, capturable, and learning rates that are tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.agent.probe.loops.loop import Plain, pairs, ran

KINDS: dict[str, Any] = {
    "for_loop": lambda params: torch.optim.AdamW(params, lr=0.01, foreach=False),
    "foreach": lambda params: torch.optim.AdamW(params, lr=0.01, foreach=True),
    "fused_adam": lambda params: torch.optim.Adam(params, lr=0.01, fused=True),
    "fused_adamw": lambda params: torch.optim.AdamW(params, lr=0.01, fused=True),
    "fused_sgd": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9, fused=True),
    "fused_adagrad": lambda params: torch.optim.Adagrad(params, lr=0.01, fused=True),
    "tensor": lambda params: torch.optim.AdamW(params, lr=torch.tensor(0.01)),
    "tensor_of_one": lambda params: torch.optim.SGD(params, lr=torch.tensor([0.01])),
    "tensor_double": lambda params: torch.optim.AdamW(params, lr=torch.tensor(0.01, dtype=torch.float64)),
    "tensor_fused": lambda params: torch.optim.AdamW(params, lr=torch.tensor(0.01), fused=True),
    "differentiable": lambda params: torch.optim.SGD(params, lr=0.01, differentiable=False, maximize=False),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_sample_is_the_same_whatever_the_implementation(name: str, probe: Any, receiver: Any) -> None:
    for truth, row in pairs(ran(lambda: Plain(KINDS[name]), 12), receiver.take().rows):
        assert row["loss"] == truth.loss
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-5)
        assert row["lr/0"] == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_an_adjustment_is_read_back_and_the_jobs_own_is_left_as_it_was(name: str, probe: Any, receiver: Any) -> None:
    loop = Plain(KINDS[name])
    own = loop.optimizer.param_groups[0]["lr"]
    kept = own.clone() if isinstance(own, torch.Tensor) else own
    loop.round()
    receiver.command(factor=0.5)
    rounds = 0
    while "settled" not in receiver.states():
        loop.round()
        assert loop.optimizer.param_groups[0]["lr"] is own or not isinstance(own, torch.Tensor)
        assert bool(loop.optimizer.param_groups[0]["lr"] == kept)
        rounds += 1
        assert rounds < 10_000
    row = receiver.take().rows[-1]
    assert row["lr/0"] == pytest.approx(0.005, rel=1e-6)
    assert row["own_lr/0"] == pytest.approx(0.01, rel=1e-6)


def test_a_learning_rate_shared_by_two_groups_is_in_both_series(probe: Any, receiver: Any) -> None:
    shared = torch.tensor(0.01)
    loop = Plain(lambda params: torch.optim.SGD([{"params": params[:2]}, {"params": params[2:]}], lr=shared))
    loop.round()
    receiver.command(factor=0.5)
    rounds = 0
    while "settled" not in receiver.states():
        loop.round()
        rounds += 1
        assert rounds < 10_000
    row = receiver.take().rows[-1]
    assert (row["lr/0"], row["lr/1"]) == pytest.approx((0.005, 0.005), rel=1e-6)
    assert shared.item() == pytest.approx(0.01)


def test_a_scheduler_that_fills_the_tensor_is_followed(probe: Any, receiver: Any) -> None:
    loop = Plain(lambda params: torch.optim.AdamW(params, lr=torch.tensor(0.01)))
    schedule = torch.optim.lr_scheduler.ExponentialLR(loop.optimizer, 0.9)
    for _ in range(5):
        loop.round()
        schedule.step()
    found = [row["lr/0"] for row in receiver.take().rows]
    assert found == pytest.approx([0.01 * 0.9**i for i in range(5)], rel=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a capturable step needs an accelerator")
def test_a_capturable_step_is_a_sample_like_any_other(probe: Any, receiver: Any) -> None:
    params = [torch.nn.Parameter(torch.ones(3, device="cuda"))]
    optimizer = torch.optim.AdamW(params, lr=torch.tensor(0.01, device="cuda"), capturable=True)
    for _ in range(5):
        optimizer.zero_grad()
        (params[0] ** 2).sum().backward()
        optimizer.step()
    probe.close()
    rows = receiver.take().rows
    assert len(rows) == 5
    assert all(row["lr/0"] == pytest.approx(0.01) and row["grad_norm"] > 0 for row in rows)
