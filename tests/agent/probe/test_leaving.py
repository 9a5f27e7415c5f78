"""The agent asks the probe to leave: the job goes on as if nobody had been there."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
import torch
from torch.optim.optimizer import Optimizer

from steersman.agent.probe import current, packet
from steersman.agent.probe.patches import LOSSES


def leave(receiver: Any, step: Any) -> None:
    receiver.take()
    receiver._connections[-1].send(packet.pack_json(packet.DETACH, {}))
    deadline = time.monotonic() + 60
    while current() is not None:
        assert time.monotonic() < deadline
        step()


def places() -> list[Any]:
    clip: Any = torch.nn.utils.clip_grad
    found = [getattr(torch.nn.functional, name) for name in LOSSES]
    found += [torch.autograd.backward, clip._get_total_norm, clip._clip_grads_with_norm_]
    found += [clip._group_tensors_by_device_and_dtype, clip.clip_grad_value_, torch.nn.utils.clip_grad_value_]
    return [*found, torch.amp.GradScaler.scale, Optimizer._optimizer_step_code]


@pytest.mark.parametrize("factor", [None, 0.5])
@pytest.mark.parametrize("closure", [False, True])
def test_everything_is_as_it_was(closure: bool, factor: Any, receiver: Any, start: Any, job: Any) -> None:
    before = places()
    work = job(lambda params: torch.optim.SGD(params, lr=0.08))
    start()

    def step() -> None:
        if closure:
            work.optimizer.step(lambda: work.loss().backward())
        else:
            work.optimizer.zero_grad()
            work.loss().backward()
            work.optimizer.step()
        assert work.optimizer.param_groups[0]["lr"] == 0.08

    step()
    step()
    if factor is not None:
        receiver.command(factor=factor)
        deadline = time.monotonic() + 60
        while "applied" not in receiver.states():
            assert time.monotonic() < deadline
            step()
    leave(receiver, step)
    optimizer = work.optimizer
    assert [(a is b) for a, b in zip(places(), before, strict=True)] == [True] * len(before)
    everywhere: Any = sys.modules["torch.optim.optimizer"]
    assert len(everywhere._global_optimizer_pre_hooks) == 0
    assert (len(optimizer._optimizer_step_pre_hooks), len(optimizer._optimizer_step_post_hooks)) == (0, 0)
    (goodbye,) = receiver.of(packet.BYE)
    assert goodbye["outcome"] == "detached"
    rows = len(receiver.take().rows)
    step()
    assert len(receiver.take().rows) == rows


def test_it_may_come_again(receiver: Any, start: Any, job: Any) -> None:
    work = job(lambda params: torch.optim.SGD(params, lr=0.08))

    def step() -> None:
        work.optimizer.zero_grad()
        work.loss().backward()
        work.optimizer.step()

    for _ in range(3):
        start()
        step()
        step()
        leave(receiver, step)
    assert [one["outcome"] for one in receiver.of(packet.BYE)] == ["detached"] * 3
    assert len(receiver.of(packet.HELLO)) == 3


def test_where_frames_are_compiled_no_loss_function_is_touched(start: Any) -> None:
    before = [getattr(torch.nn.functional, name) for name in LOSSES]
    start(losses=False)
    assert all(getattr(torch.nn.functional, name) is one for name, one in zip(LOSSES, before, strict=True))
