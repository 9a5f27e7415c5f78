"""Other threads are looked at without a hand on their frames."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from steersman.agent.probe import running, stacks
from steersman.agent.probe.running import Running


class Worker:
    """A thread that stands in a function until it is let go, with a frame that it gave us itself."""

    def __init__(self, ends_with: BaseException | None = None) -> None:
        self.frame: Any = None
        self.raised: BaseException | None = None
        self._ends_with = ends_with
        self._there, self._on, self._out, self._end = (threading.Event() for _ in range(4))
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self._there.wait(60)

    def _run(self) -> None:
        try:
            self.a_function_of_its_own("kept")
        except ZeroDivisionError as error:
            self.raised = error
        self._out.set()
        self._end.wait(60)

    def a_function_of_its_own(self, local: str) -> None:
        self.frame = sys._getframe()
        self._there.set()
        self._on.wait(60)
        if self._ends_with is not None:
            raise self._ends_with
        assert local == "kept", "its locals were taken from it"

    def leave_the_function(self) -> None:
        self._on.set()
        assert self._out.wait(60)

    def close(self) -> None:
        self._on.set()
        self._end.set()
        self.thread.join(60)

    @property
    def ident(self) -> int:
        assert self.thread.ident is not None
        return self.thread.ident


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def of(worker: Worker) -> Running:
    return Running(None, worker.frame, worker.ident)  # type: ignore[arg-type]


def test_every_thread_has_its_paragraph_and_is_not_hindered(worker: Worker) -> None:
    found = looks()
    mine = [text for text in found if text.startswith("Current")]
    assert len(mine) == 1
    assert "in test_every_thread_has_its_paragraph_and_is_not_hindered" in mine[0]
    assert [text for text in found if "in a_function_of_its_own" in text and text not in mine]
    assert {threading.get_ident(), worker.ident} <= stacks.threads()
    worker.leave_the_function()
    assert "in a_function_of_its_own" not in str(looks())


def looked() -> stacks.Stacks:
    found = stacks.Stacks()
    found.close()
    return found


def looks() -> list[str]:
    return looked().threads


def test_looking_leaves_no_file_open() -> None:
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for _ in range(50):
        looks()
    assert (len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0) == before


def test_without_a_file_of_memory_one_of_the_disk_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    assert any("in test_without_a_file_of_memory" in text for text in looks())


def test_where_nobody_can_look_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda *_: 4096)  # a disk, or a memory, that is full
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    with pytest.raises(OSError, match="no room"):
        stacks.Stacks()
    assert threading.get_ident() in stacks.threads()
    assert (len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0) == before


@pytest.mark.parametrize(("others", "depth"), [(120, 0), (1, 120)])
def test_what_is_cut_off_is_not_passed_off_as_all(others: int, depth: int) -> None:
    assert looked().whole
    go_on, there = threading.Event(), threading.Semaphore(0)

    def stand(deep: int) -> None:
        if deep:
            stand(deep - 1)
        else:
            there.release()
            go_on.wait(60)

    threads = [threading.Thread(target=stand, args=(depth,)) for _ in range(others)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert there.acquire(timeout=60)
    try:
        assert not looked().whole
        assert {thread.ident for thread in threads} | {threading.get_ident()} <= stacks.threads()
    finally:
        go_on.set()
        for thread in threads:
            thread.join(60)


def test_the_depth_of_who_looks_is_its_own_affair() -> None:
    def deep(frames: int) -> bool:
        return deep(frames - 1) if frames else looked().whole

    assert deep(150)


def test_what_did_not_fit_is_not_passed_off_as_all(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    monkeypatch.setattr(stacks, "_MOST", 4096)

    def deep(frames: int) -> bool:
        return deep(frames - 1) if frames else looked().whole

    assert not deep(90)


def test_the_step_of_another_thread_is_alive_until_it_is_left(worker: Worker) -> None:
    step = of(worker)
    assert step.alive()
    worker.leave_the_function()
    assert worker.thread.is_alive()
    assert not step.alive()


def test_a_step_that_its_thread_has_just_ended_is_over(worker: Worker) -> None:
    step = of(worker)
    step.frame = None
    assert not step.alive()


def test_a_step_that_raised_is_over_though_its_thread_lives_and_its_traceback_is_kept() -> None:
    worker = Worker(ends_with=ZeroDivisionError())
    try:
        step = of(worker)
        worker.leave_the_function()
        assert worker.raised is not None
        assert not step.alive()
    finally:
        worker.close()


def test_without_the_interpreters_lock_a_step_is_alive_as_long_as_its_thread(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_LOCKED", False)
    step = of(worker)
    worker.leave_the_function()
    assert step.alive()
    worker.close()
    assert not step.alive()
