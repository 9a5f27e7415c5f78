"""A job's own signal handlers run wherever the main thread is, which now and then is in the midst of the probe."""

from __future__ import annotations

import functools
import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.agent.probe.loops.accumulated import Accumulated
from tests.agent.probe.loops.clipped import Clipped
from tests.agent.probe.loops.closures import Closure
from tests.agent.probe.loops.loop import Loop
from tests.agent.probe.loops.scaled import Scaled

import steersman.agent.probe as package
from steersman.agent.probe import packet

# A socket that was being opened when the handler struck is closed when the interpreter finds it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

PROBE = os.path.dirname(package.__file__)
KINDS: dict[str, Callable[[], Loop]] = {
    "plain": Loop,
    "clipped": Clipped,
    "accumulated": Accumulated,
    "scaled": Scaled,
    "closure": lambda: Closure(lambda params: torch.optim.SGD(params, lr=0.05)),
}


def arm() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)


def disarm() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def struck(loop: Loop, error: type[BaseException]) -> str:
    """One round of a job that minds what its handler raises; what that said."""
    try:
        arm()
        loop.round()
        disarm()
    except error as seen:
        return str(seen)
    return ""


@pytest.fixture
def every_moment() -> Iterator[Callable[[Any], None]]:
    """Have a handler called whenever the timer is armed, as often as it can."""
    # What earlier tests left is not collected in between: Python drops what is raised while it finalizes something.
    gc.collect()
    gc.disable()
    before = signal.getsignal(signal.SIGALRM)

    def begin(handler: Any) -> None:
        signal.signal(signal.SIGALRM, handler)

    yield begin
    disarm()
    signal.signal(signal.SIGALRM, before)
    gc.enable()


def in_the_probe(frame: Any) -> bool:
    """Whether a signal came within the probe, but for where an optimizer is gone: what is raised there Python drops."""
    if frame is None or not frame.f_code.co_filename.startswith(PROBE):
        return False
    while frame is not None and frame.f_code.co_name != "gone":
        frame = frame.f_back
    return frame is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_that_trains_something_itself_changes_no_result(
    kind: str, start: Any, receiver: Any, every_moment: Any
) -> None:
    bare = KINDS[kind]()
    for _ in range(300):
        bare.round()
    probe = start()
    other, inside = Loop(seed=1), [0]

    busy: list[int] = []

    def handler(number: int, frame: Any) -> None:
        inside[0] += in_the_probe(frame)
        if not busy:
            busy.append(1)
            with torch.enable_grad():  # torch's own steps, in whose midst it may be, have it off
                other.round()
            busy.clear()

    loop = KINDS[kind]()
    every_moment(handler)
    arm()
    for _ in range(300):
        loop.round()
    disarm()
    assert other.count > 10
    assert inside[0] > 0, "no signal came within the probe: this shows nothing"
    assert all(map(torch.equal, loop.weights(), bare.weights()))
    alone = Loop(seed=1)
    for _ in range(other.count):
        alone.round()
    assert all(map(torch.equal, other.weights(), alone.weights()))
    assert probe.failures == 0


class Alarm(Exception):
    """The job's own."""


class Handler:
    """Raises where it finds itself in the probe; callable in every way in which handlers are."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error
        self.raised = 0

    def handle(self, number: int, frame: Any) -> None:
        if in_the_probe(frame):
            self.raised += 1
            disarm()  # a second while the first is on its way would take its place
            raise self.error(str(self.raised))

    def with_more(self, more: int, number: int, frame: Any) -> None:
        self.handle(number, frame)

    __call__ = handle


@pytest.mark.parametrize("overlay", [False, True], ids=["", "overlay"])
@pytest.mark.parametrize("error", [Alarm, TimeoutError, ValueError, RuntimeError, KeyboardInterrupt])
def test_what_a_handler_raises_is_the_jobs_wherever_it_strikes(
    error: type[BaseException], overlay: bool, start: Any, receiver: Any, every_moment: Any
) -> None:
    probe = start()
    loop, handler = Clipped(), Handler(error)
    loop.round()
    if overlay:
        receiver.command(factor=0.5)
        deadline = time.monotonic() + 60
        while "settled" not in receiver.states():
            assert time.monotonic() < deadline
            loop.round()
    every_moment(handler.handle)
    deadline = time.monotonic() + 60
    while handler.raised < 40:
        assert time.monotonic() < deadline
        before = handler.raised
        said = struck(loop, error)
        assert said == (str(handler.raised) if handler.raised > before else ""), "one was swallowed"
        receiver.take()
    assert [event["message"] for event in receiver.of(packet.EVENT) if event["kind"].startswith("probe_")] == []
    for _ in range(3):
        loop.round()
        assert loop.optimizer.param_groups[0]["lr"] == 0.05
    assert probe._steps.claims == {}


@pytest.mark.parametrize("way", ["function", "partial", "object"])
def test_a_handler_is_known_however_it_was_made(way: str, start: Any, receiver: Any, every_moment: Any) -> None:
    probe = start()
    loop, handler = Loop(), Handler(Alarm)

    def function(number: int, frame: Any) -> None:
        handler.handle(number, frame)

    ways: dict[str, Any] = {"function": function, "partial": functools.partial(handler.with_more, 1), "object": handler}
    every_moment(ways[way])
    deadline = time.monotonic() + 60
    while handler.raised < 10:
        assert time.monotonic() < deadline
        before = handler.raised
        said = struck(loop, Alarm)
        assert said == (str(handler.raised) if handler.raised > before else ""), "one was swallowed"
    receiver.take()
    assert probe.failures == 0, [e["message"] for e in receiver.of(packet.EVENT) if e["kind"].startswith("probe_")]
