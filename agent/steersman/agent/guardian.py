"""The agent's guardian: a process of one pipe and no imports that becomes the next agent where this one dies.

Nobody else could bring an agent back to a job under `watch` or after `attach`: the probe is a guest and starts no
processes. Each of the two minds the other, so that only the death of both at once leaves a job without an agent.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

MAX_DEATHS = 10
"""Agents that may die one after the other, each soon after it began, before no other one is started."""

LONG_LIFE = 60.0
"""Seconds after which an agent counts as one that works."""

_LONGEST = 60.0
_RETRY = 10.0


def delay(deaths: int) -> float:
    """Seconds to wait before the next agent begins, where so many have died soon after they began.

    >>> [delay(deaths) for deaths in (0, 1, 2, 3, 9)]
    [0.0, 0.5, 1.0, 2.0, 60.0]
    """
    return min(2.0 ** (deaths - 2), _LONGEST) if deaths else 0.0


class Guardian:
    """The agent's side of it.

    Args:
        daemon: HOST:PORT of the daemon, for the next agent.
        socket: where that one listens.
        deaths: agents that died before this one, each soon after it began.
    """

    def __init__(self, daemon: str, socket: str, deaths: int = 0) -> None:
        self._words = (daemon, socket, str(deaths))
        self._process: subprocess.Popen[bytes] | None = None
        self._tried = float("-inf")

    def tend(self, now: float) -> None:
        """See that it is there; start it where it is not, and then not again for a while.

        Raises:
            OSError: it could not be started.
        """
        import subprocess

        if (self._process is not None and self._process.poll() is None) or now - self._tried < _RETRY:
            return
        self._tried = now
        self._hang_up()
        # Without site and the environment's paths it is there in a moment and stays small. In a session of its own no
        # signal meant for the agent's process group takes it along.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, *self._words], stdin=subprocess.PIPE, start_new_session=True
        )

    def dismiss(self) -> None:
        """The agent leaves because it is done, or was told to: no other one is needed."""
        if self._process is None or self._process.stdin is None:
            return
        with contextlib.suppress(OSError):  # it may be gone already
            os.write(self._process.stdin.fileno(), b".")
        self._hang_up()

    def _hang_up(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


def main(words: list[str]) -> int:
    """Wait for the agent's last word; where it ends without one, become the next agent."""
    daemon, socket, deaths = words[0], words[1], int(words[2])
    began = time.monotonic()
    try:
        if os.read(0, 1):
            return 0
    except OSError:
        return 0
    deaths = 0 if time.monotonic() - began >= LONG_LIFE else deaths
    if deaths >= MAX_DEATHS:
        sys.stderr.write(f"{deaths} agents for {daemon} died soon after they began: no other one is started\n")
        return 1
    time.sleep(delay(deaths))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    given = ["--daemon", daemon, "--socket", socket, "--deaths", str(deaths + 1)]
    os.execv(sys.executable, [sys.executable, "-m", "steersman.agent.sidecar", *given])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
