"""Both clocks; the device is a stand-in, for the seam is what it is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from steersman.agent.measure.clock import EventClock, HostClock, clock_for
from steersman.agent.measure.training import CASES, WARM, Training, run_block


class Device:
    """As `torch.cuda`: work is done when somebody waits for it, and events know when they were reached."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queue: list[Any] = []
        self.waited = 0

    def work(self, milliseconds: float) -> None:
        self.queue.append(milliseconds)

    def synchronize(self) -> None:
        self.waited += 1
        for item in self.queue:
            if isinstance(item, float):
                self.now += item
            else:
                item.at = self.now
        self.queue.clear()

    def Event(self, enable_timing: bool) -> Any:
        assert enable_timing
        return Event(self)


class Event:
    def __init__(self, device: Device) -> None:
        self.device = device
        self.at: float | None = None

    def record(self) -> None:
        self.device.queue.append(self)

    def elapsed_time(self, other: Any) -> float:
        assert self.at is not None
        assert other.at is not None
        return float(other.at - self.at)


def test_events_are_read_once_the_device_has_reached_them() -> None:
    device = Device()
    clock = EventClock(device)
    device.work(100.0)
    for milliseconds in (2.0, 3.0):
        clock.mark()
        device.work(milliseconds)
    clock.mark()
    assert device.waited == 0, "marking waits for nothing"
    assert clock.seconds() == [0.002, 0.003]
    assert device.waited == 1
    clock.mark()
    assert clock.seconds() == [], "it begins anew"


def test_a_block_is_measured_with_events_as_with_the_hosts_clock() -> None:
    device = Device()
    training = Training(CASES["small"], "cpu")
    step = training.step

    def slow() -> Any:
        device.work(1.5)
        return step()

    training.step = slow  # type: ignore[method-assign]
    found = run_block(training, EventClock(device))
    assert found == pytest.approx([0.0015] * CASES["small"].block)
    assert device.now == pytest.approx(1.5 * (WARM + CASES["small"].block))
    assert device.waited == 1


def test_the_hosts_clock() -> None:
    clock = HostClock()
    for _ in range(3):
        clock.mark()
    first, second = clock.seconds()
    assert 0 <= first < 1
    assert 0 <= second < 1
    assert isinstance(clock_for("cpu"), HostClock)
    assert isinstance(clock_for("cuda:1"), EventClock)
