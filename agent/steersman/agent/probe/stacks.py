"""What every thread is doing, without a hand on its frames.

`sys._current_frames` and `f_back` make objects for frames of threads that go on running. Before Python 3.12 that may
start a collection, which may give up the interpreter half-way; the frame's thread leaves it meanwhile, and what has
been made is for memory that is no frame any more. Interpreters have hung and died of such looks (python/cpython#106883,
#111363), and free-threaded ones still do (python/cpython#152355). `faulthandler` reads the same stacks in one go and
makes no objects.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import re
import tempfile
from typing import List, Set

_MOST = 1 << 22  # bytes; nothing is taken of them before it is written on
_HEAD = re.compile(r"(?:Current thread|Thread) 0x([0-9a-fA-F]+)")


class Stacks:
    """The stacks of all threads at one moment; the moment is over when the object has been made, or later by `close`.

    Nothing between the look and the end of `__init__` gives up the interpreter by itself; `close` does.

    Attributes:
        threads: a paragraph for each, its frames innermost first; that of the calling thread begins with "Current". A
            hundred at most and their hundred innermost frames, for that is where `faulthandler` ends.

    Raises:
        OSError: no file could be made for it.
    """

    def __init__(self) -> None:
        # Not a pipe: it might be full, and whoever empties it could not run.
        if hasattr(os, "memfd_create"):
            self._number = os.memfd_create("steersman-stacks")
        else:
            with tempfile.TemporaryFile() as file:
                self._number = os.dup(file.fileno())
        try:
            os.ftruncate(self._number, _MOST)
            self._text = mmap.mmap(self._number, _MOST)
        except (OSError, ValueError):
            os.close(self._number)
            raise
        faulthandler.dump_traceback(self._number, all_threads=True)
        text = self._text[: max(self._text.find(b"\0"), 0)]
        self.threads: List[str] = text.decode("utf-8", "backslashreplace").split("\n\n")

    def close(self) -> None:
        """Give the file back."""
        self._text.close()
        os.close(self._number)


def threads() -> Set[int]:
    """The threads that run Python, by `threading.get_ident`; none where no file could be made to look."""
    try:
        stacks = Stacks()
    except OSError:
        return set()
    stacks.close()
    return {int(head.group(1), 16) for head in map(_HEAD.match, stacks.threads) if head}
