"""What somebody sees and presses at a terminal."""

from __future__ import annotations

import os
import pty
import threading


class Terminal:
    """A pseudo-terminal with everything that was ever drawn on it."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        self.drawn = b""
        self.more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                got = os.read(self._ours, 65536)
            except OSError:  # the other side is closed everywhere
                return
            with self.more:
                self.drawn += got
                self.more.notify_all()

    def wait_for(self, words: bytes) -> None:
        with self.more:
            assert self.more.wait_for(lambda: words in self.drawn, 60), self.drawn

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def close(self) -> None:
        os.close(self.theirs)
        self._reader.join(30)
        os.close(self._ours)
