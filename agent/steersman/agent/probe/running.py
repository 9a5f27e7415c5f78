"""The step that is being made."""

from __future__ import annotations

import sys
import threading
from typing import Any

from .seen import Seen
from .stacks import threads


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
        """Whether torch's wrapper around that step is still at work.

        torch runs no post-hook after an exception, so this is what tells a nested step from one that never ended.
        """
        mine = self.frame
        if mine is None:
            return False  # its thread has just ended it
        if self.thread != threading.get_ident():
            return _at_work(mine, self.thread)
        frame: Any = sys._getframe(1)
        while frame is not None:
            if frame is mine:
                return True
            frame = frame.f_back
        return False


def _at_work(frame: Any, thread: int) -> bool:
    """Whether a frame of another thread is still executed.

    Nobody may follow the stack of a thread that goes on (see `stacks`). A frame tells of its own end in that its locals
    may be cleared; where it ended with an exception that somebody still looks at, those are lost to them.
    """
    if not _LOCKED:
        return thread in threads()
    try:
        frame.clear()
    except RuntimeError:
        return True
    return False


# Without the interpreter's lock a frame may end while it is asked.
_LOCKED: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
