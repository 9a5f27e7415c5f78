"""The probe makes the training process wait for nothing: proved by counting, not by reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.agent.probe.loops.catalogue import LOOPS
from tests.agent.probe.loops.clipped import Clipped
from tests.agent.probe.loops.loop import Loop

from steersman.agent.measure.waits import Waits
from steersman.agent.probe import packet

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.01),
    "momentum": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.001),
    "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.001),
    "tensor lr": lambda params: torch.optim.Adam(params, lr=torch.tensor(0.001), foreach=False, capturable=False),
}


def counted(work: Any) -> Counter[str]:
    def once(clip: bool) -> None:
        work.optimizer.zero_grad()
        work.loss().backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(work.model.parameters(), 1.0)
        work.optimizer.step()

    count = Waits()
    with count:
        for step in range(45):
            once(clip=step % 3 == 0)
            if step % 7 == 0:
                with torch.no_grad():
                    work.loss()
    return count.seen


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_not_one_dispatch_that_waits_more_than_the_bare_loop(name: str, receiver: Any, start: Any, job: Any) -> None:
    bare = counted(job(OPTIMIZERS[name]))
    probe = start()
    work = job(OPTIMIZERS[name])
    work.step()
    receiver.command(factor=0.5, over_steps=3)
    with_probe = counted(work)
    assert len(receiver.take().rows) == 46
    assert receiver.states() == ["armed", "applied", "settled"]
    assert any("hypergrad_cos" in row for row in receiver.rows)
    assert probe.failures == 0
    assert with_probe == bare


def waits(make: Callable[[], Loop]) -> Counter[str]:
    """The loop is built outside: what is counted is rounds."""
    loop = make()
    loop.round()
    count = Waits()
    with count:
        for _ in range(33):
            loop.round()
    return count.seen


@pytest.mark.parametrize("name", LOOPS)
def test_no_way_of_training_waits_once_more(name: str, start: Any, receiver: Any) -> None:
    bare = waits(LOOPS[name])
    probe = start()
    watched = waits(LOOPS[name])
    assert [e["message"] for e in receiver.of(packet.EVENT) if e["kind"] in ("probe_failed", "probe_off")] == []
    probe.close()
    assert receiver.take().rows, "nothing was watched: this shows nothing"
    assert watched == bare


def test_what_waits_is_counted_here() -> None:
    """A test that counts nothing would prove nothing."""
    count = Waits()
    with count:
        torch.ones(()).item()
        torch.ones(2).to(torch.float64).copy_(torch.ones(2))
    assert count.seen == {"_local_scalar_dense": 1, "copy_": 1}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch can only watch for waiting on an accelerator")
def test_torch_itself_sees_no_waiting_on_an_accelerator(probe: Any, receiver: Any) -> None:
    loop = Clipped()
    loop.model.cuda()
    loop.inputs, loop.targets = loop.inputs.cuda(), loop.targets.cuda()
    loop.optimizer = torch.optim.AdamW(loop.params, lr=0.01, fused=True)
    before: Any = torch.cuda.get_sync_debug_mode()
    for index in range(40):
        if index == 5:
            torch.cuda.set_sync_debug_mode("error")
        loop.optimizer.zero_grad()
        loop.loss().backward()
        torch.nn.utils.clip_grad_norm_(loop.params, 1.0)
        loop.optimizer.step()
    torch.cuda.set_sync_debug_mode(before)
    probe.close()
    assert len(receiver.take().rows) == 40
