"""Hooks come and go only while nobody walks over them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch.optim.optimizer import Optimizer

from steersman.agent.probe.outside import Outside
from steersman.agent.probe.outside import stepping as stepping_in
from steersman.agent.probe.stacks import Stacks

ORIGINAL = Optimizer._optimizer_step_code


def stepping() -> bool:
    stacks = Stacks()
    try:
        return stepping_in(stacks)
    finally:
        stacks.close()


class Sam(torch.optim.SGD):
    """An optimizer whose step makes a step of its own base, as SAM and Lookahead do."""

    def step(self, closure: Any = None) -> Any:
        torch.optim.SGD.step(self)
        torch.optim.SGD.step(self)


def made(kind: Any = torch.optim.SGD) -> Any:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    return kind([parameter], lr=0.1)


def test_outside_of_a_step_it_is_done_at_once() -> None:
    done: list[int] = []
    assert Outside(lambda: done.append(1)).begin()
    assert done == [1]
    assert Optimizer._optimizer_step_code is ORIGINAL


@pytest.mark.parametrize("kind", [torch.optim.SGD, Sam])
def test_inside_a_step_it_is_done_at_the_end_of_the_outermost_and_hooks_may_change(kind: Any) -> None:
    optimizer, seen = made(kind), []

    def change() -> None:
        seen.append("changed")
        handle.remove()
        optimizer.register_step_post_hook(lambda *_: seen.append("new post-hook"))

    def once(*_: Any) -> None:
        if not begun:
            begun.append(Outside(change).begin())
            seen.append("asked")

    begun: list[bool] = []
    handle = optimizer.register_step_pre_hook(once)
    optimizer.step()
    assert (begun, seen[:2]) == ([False], ["asked", "changed"])
    assert seen[2:] == ["new post-hook"]
    assert Optimizer._optimizer_step_code is ORIGINAL


def test_a_step_of_another_thread_is_waited_for() -> None:
    slow, quick, done = made(), made(), []
    inside, go_on = threading.Event(), threading.Event()

    def hold(*_: Any) -> None:
        inside.set()
        go_on.wait(60)

    slow.register_step_pre_hook(hold)
    thread = threading.Thread(target=slow.step)
    thread.start()
    assert inside.wait(60)
    assert stepping()
    assert not Outside(lambda: done.append(threading.current_thread())).begin()
    quick.step()
    assert done == []
    go_on.set()
    thread.join()
    assert done == [thread]
    assert not stepping()
    assert Optimizer._optimizer_step_code is ORIGINAL


@pytest.mark.parametrize("folder", ["jürgen", "long" * 150])
def test_a_step_is_known_wherever_torch_lies(folder: str) -> None:
    """Its name is written in ASCII then, and cut off after some hundred letters."""
    inside, go_on = threading.Event(), threading.Event()
    code = compile("def wrapper(wait):\n    wait()\n", f"/{folder}/torch/optim/optimizer.py", "exec")
    found: dict[str, Any] = {}
    exec(code, found)

    def hold() -> None:
        inside.set()
        go_on.wait(60)

    thread = threading.Thread(target=found["wrapper"], args=(hold,))
    thread.start()
    assert inside.wait(60)
    assert stepping()
    go_on.set()
    thread.join()
    assert not stepping()


def test_where_not_all_can_be_seen_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer, done = made(), []
    one = Outside(lambda: done.append(1))
    look = Stacks.__init__

    def cut(self: Stacks) -> None:
        look(self)
        self.whole = False

    with monkeypatch.context() as patched:
        patched.setattr(Stacks, "__init__", cut)
        assert not one.begin()
        optimizer.step()
        assert done == []
    optimizer.step()
    assert done == [1]
    assert Optimizer._optimizer_step_code is ORIGINAL


def test_who_is_never_found_outside_pays_little_for_the_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Optimizer, "_optimizer_step_code", ORIGINAL)
    optimizer, looks, now = made(), [], [0.0]
    monkeypatch.setattr("steersman.agent.probe.outside._look", lambda: looks.append(now[0]))
    monkeypatch.setattr("steersman.agent.probe.outside.time.monotonic", lambda: now[0])
    assert not Outside(lambda: None).begin()
    for _ in range(10_000):
        now[0] += 0.001
        optimizer.step()
    assert 16 < len(looks) < 40


def test_what_somebody_else_put_there_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = made()
    done: list[int] = []
    theirs: list[int] = []
    monkeypatch.setattr(Optimizer, "_optimizer_step_code", ORIGINAL)

    def once(*_: Any) -> None:
        if not done and not theirs:
            Outside(lambda: done.append(1)).begin()
            ours = Optimizer._optimizer_step_code

            def wrapped(self: Any) -> None:
                theirs.append(1)
                ours(self)

            Optimizer._optimizer_step_code = wrapped  # type: ignore[method-assign]

    optimizer.register_step_pre_hook(once)
    optimizer.step()
    optimizer.step()
    assert (done, theirs) == ([1], [1, 1])
