"""How long to wait before the next attempt to reach the daemon."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable

FIRST = 0.5
LOOPBACK_CAP = 5.0
REMOTE_CAP = 60.0


def is_loopback(address: str) -> bool:
    """Whether HOST:PORT is this very host.

    >>> is_loopback("127.0.0.1:7461"), is_loopback("[::1]:7461"), is_loopback("train.example:7461")
    (True, True, False)
    """
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Backoff:
    """Doubles from half a second up to a cap; each delay is drawn between half of it and all of it.

    The jitter keeps a fleet from coming back in the same instant after its daemon was restarted.

    Args:
        cap: the longest delay, in seconds.
        uniform: draws the jitter; replaced in tests.
    """

    def __init__(self, cap: float, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._cap = cap
        self._uniform = uniform
        self._next = FIRST

    def reset(self) -> None:
        """The connection held: begin again at the short end."""
        self._next = FIRST

    def slow(self) -> None:
        """Trying again soon is of no use: go on at the long end."""
        self._next = self._cap

    def delay(self) -> float:
        """The next delay, in seconds."""
        step = min(self._next, self._cap)
        self._next = min(step * 2, self._cap)
        return self._uniform(step / 2, step)
