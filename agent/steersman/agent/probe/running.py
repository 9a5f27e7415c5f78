"""The step that is being made."""

from __future__ import annotations

import sys
import threading
from typing import Any

from .seen import Seen


class Running:
    """The outermost step that is being made."""

    __slots__ = ("_open", "closed", "frame", "lifted", "seen", "thread")

    def __init__(self, seen: Seen, frame: Any, thread: int) -> None:
        self.seen = seen
        self.frame = frame
        self.thread = thread
        self.closed = False
        self.lifted: Any = None
        self._open = [True]

    def end(self) -> bool:
        """It is over; False where another thread has said so before."""
        try:
            self._open.pop()
        except IndexError:
            return False
        return True

    def alive(self) -> bool:
        """Whether torch's wrapper around that step is still on its thread's stack.

        torch runs no post-hook after an exception, so this is what tells a nested step from one that never ended.
        """
        if self.thread == threading.get_ident():
            frame: Any = sys._getframe(1)
        else:
            frame = sys._current_frames().get(self.thread)
        while frame is not None:
            if frame is self.frame:
                return True
            frame = frame.f_back
        return False
