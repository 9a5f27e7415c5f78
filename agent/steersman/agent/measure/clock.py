"""How long steps take: on the host's clock, or between events on an accelerator's stream."""

from __future__ import annotations

import itertools
import time
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Marked before the first step and after each."""

    def mark(self) -> None:
        """A step has ended; waits for nothing."""

    def seconds(self) -> list[float]:
        """The times between marks; may wait for what the device still has to do. The clock is then as new."""
        ...


class HostClock:
    """For steps that have been made when the call returns."""

    def __init__(self) -> None:
        self._marks: list[float] = []

    def mark(self) -> None:
        """A step has ended."""
        self._marks.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """The times between marks."""
        marks, self._marks = self._marks, []
        return [after - before for before, after in itertools.pairwise(marks)]


class EventClock:
    """For steps that a device makes while the host goes on: what is timed is when the device got there.

    A host that falls behind shows in it as well, for then the device waits for the next step.

    Args:
        device: the module of the device, as `torch.cuda`.
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        self._marks: list[Any] = []

    def mark(self) -> None:
        """Put an event behind what has been asked of the device so far."""
        event = self._device.Event(enable_timing=True)
        event.record()
        self._marks.append(event)

    def seconds(self) -> list[float]:
        """The times between events, once the device has reached the last one."""
        self._device.synchronize()
        marks, self._marks = self._marks, []
        return [before.elapsed_time(after) / 1e3 for before, after in itertools.pairwise(marks)]


def clock_for(device: str) -> Clock:
    """The clock for steps on a device, `cpu` or CUDA's current one."""
    return HostClock() if torch.device(device).type == "cpu" else EventClock(torch.cuda)
