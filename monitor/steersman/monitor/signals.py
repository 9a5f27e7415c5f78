"""SIGINT and SIGTERM, in one place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator

_CATCH = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stopping(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` on the first signal; a second one ends the process at once, which loses nothing acknowledged."""
    loop = asyncio.get_running_loop()

    def caught(number: signal.Signals) -> None:
        if stop.is_set():
            # Not sys.exit: it would wait for threads, one of which may be what does not come to an end.
            sys.stderr.write("steersman: stopped at once; what was not acknowledged is sent again by the agents\n")
            sys.stderr.flush()
            os._exit(128 + number)
        stop.set()

    for number in _CATCH:
        loop.add_signal_handler(number, caught, number)
    try:
        yield
    finally:
        for number in _CATCH:
            loop.remove_signal_handler(number)
