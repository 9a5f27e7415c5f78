"""Whether a signal was meant for `steersman run` alone, or went to the command as well.

`timeout`, `kill -- -GROUP`, Slurm and systemd signal a whole process group, step or control group: the command has its
signal already, and one passed on would be a second. What a sender aimed at cannot be read from a signal; so another
process stands in the same group, job step and control group, does nothing, and says which signals come by.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable

SETTLING = 0.2
"""Seconds within which a signal to many has reached all of them, and a sender has repeated it (`timeout` does)."""

_PR_SET_PDEATHSIG = 1
# It waits for blocked signals, and ends with its parent or the pipe's other end. No word of it is one to `pkill -f` by.
_CODE = """
import os, signal, sys
while True:
    try:
        os.write(1, bytes([signal.sigwait({int(word) for word in sys.argv[1:]})]))
    except OSError:
        break
"""


class Bystander:
    """A process beside the command that tells which signals come to all.

    Args:
        signals: those that are asked about; the caller has them blocked.

    Where it cannot be started every signal counts as one to the caller alone.
    """

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self._signals = tuple(signals)
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._said: set[int] = set()
        self._old: set[int] = set()

    def start(self) -> None:
        """Start the process; where it can't be, the command runs on without it."""
        try:
            reading, writing = os.pipe()
        except OSError:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        parent = os.getpid()

        def in_child() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

        try:
            # preexec_fn is safe here: this process has one thread. The mask of blocked signals is inherited.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _CODE, *(str(int(s)) for s in self._signals)],
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=subprocess.DEVNULL,
                cwd="/",
                preexec_fn=in_child,
            )
            self._pipe = reading
        except (OSError, subprocess.SubprocessError):
            os.close(reading)
        finally:
            os.close(writing)

    def quiet(self) -> None:
        """Nothing came to the caller for a while: what was said before the last such call came to others alone."""
        self._said -= self._old
        self._listen()
        self._old = set(self._said)

    def saw(self, number: int) -> bool:
        """Whether that signal, which has just come to the caller, came to all; waits until it would have.

        Repetitions of it within that time are the same signal: they are taken from the caller.
        """
        until = time.monotonic() + SETTLING
        while self._pipe >= 0 and time.monotonic() < until:
            self._listen()
            signal.sigtimedwait({number}, 0.01)
        seen = number in self._said
        self._said.discard(number)
        return seen

    def _listen(self) -> None:
        while self._pipe >= 0 and select.select([self._pipe], [], [], 0.0)[0]:
            said = os.read(self._pipe, 64)
            if not said:
                self.close()
            self._said.update(said)
            self._old.difference_update(said)

    def close(self) -> None:
        """Send it away."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        if self._pipe >= 0:
            with contextlib.suppress(OSError):
                os.close(self._pipe)
            self._pipe = -1
