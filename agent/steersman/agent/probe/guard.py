"""The border between the probe and the user's loop: what fails in here stays in here."""

from __future__ import annotations

import functools
import signal
import sys
import traceback
from typing import Any, Callable, Optional


class Guard:
    """Counts what failed inside the probe, says the first once, and switches the probe off when it goes on.

    Args:
        say: takes (kind, message); called at most twice.
        switch_off: called once, when there were `limit` failures.
        limit: failures after which the probe gives up.
    """

    __slots__ = ("_limit", "_say", "_switch_off", "failures", "off")

    def __init__(self, say: Callable[[str, str], None], switch_off: Callable[[], None], limit: int = 5) -> None:
        self._say = say
        self._switch_off = switch_off
        self._limit = limit
        self.failures = 0
        self.off = False

    def failed(self, where: str) -> None:
        """Take note of the exception that is being handled. Raises what a signal handler of the job's raised, only."""
        pass_on(sys.exc_info()[1])
        self.failures += 1
        try:
            if self.failures == 1:
                self._say("probe_failed", f"the probe failed {where}: {describe()}")
            if self.failures >= self._limit and not self.off:
                self.off = True
                self._switch_off()
                self._say("probe_off", f"the probe failed {self._limit} times and is off; the job goes on without it")
        except Exception:  # noqa: BLE001 - the last border: an error while reporting an error has nowhere to go
            self.off = True

    def each(self, where: str, *parts: Callable[[], Any]) -> None:
        """Do all of these, whatever fails."""
        for part in parts:
            try:
                part()
            except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
                self.failed(where)


def pass_on(error: Optional[BaseException]) -> None:
    """Raise what a signal handler of the job's has raised: it came while we ran, and was meant for whoever called us.

    Python runs a handler wherever the main thread is at that moment, which now and then is within the probe.
    """
    if error is None:
        return
    codes = []
    for number in signal.valid_signals():
        try:
            handler: Any = signal.getsignal(number)
        except ValueError:
            continue
        while isinstance(handler, functools.partial):
            handler = handler.func
        handler = getattr(handler, "__func__", handler)
        code = getattr(handler, "__code__", None)
        if code is None and callable(handler):
            code = getattr(type(handler).__call__, "__code__", None)
        if code is not None:
            codes.append(code)
    place = error.__traceback__
    while place is not None:
        if any(place.tb_frame.f_code is code for code in codes):
            raise error
        place = place.tb_next


def describe(error: Optional[BaseException] = None) -> str:
    """The exception that is being handled, with where it came from, in one line."""
    if error is None:
        error = sys.exc_info()[1]
    if error is None:
        return "unknown"
    frames = traceback.extract_tb(error.__traceback__)
    place = "{}:{}".format(frames[-1].filename.rsplit("/", 1)[-1], frames[-1].lineno) if frames else "?"
    return f"{type(error).__name__}: {error} ({place})"[:500]
