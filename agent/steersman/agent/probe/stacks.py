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
import threading
from typing import List, Set

_MOST = 1 << 20  # bytes
_DEEPEST = 100  # frames of a thread, after which some Pythons say that there are more, and some nothing
_HEAD = re.compile(r"(?:Current thread|Thread) 0x([0-9a-fA-F]+)")


class Stacks:
    """The stacks of all threads at one moment. From the look on nothing gives up the interpreter by itself but `close`.

    Attributes:
        threads: a paragraph for each, its frames innermost first; that of the calling thread begins with "Current".
        whole: whether that is all of the other threads. `faulthandler` ends after a hundred threads, the oldest being
            left out, and after the hundred innermost frames of each.

    Raises:
        OSError: no file could be made for it.
    """

    def __init__(self) -> None:
        self._number = _file()
        try:
            # All of it is written beforehand: a page that cannot be had when it is looked at ends the process.
            if os.write(self._number, bytes(_MOST)) < _MOST:
                raise OSError("no room for the stacks of all threads")
            os.lseek(self._number, 0, os.SEEK_SET)
            self._text = mmap.mmap(self._number, _MOST)
        except (OSError, ValueError) as error:
            os.close(self._number)
            raise OSError(str(error)) from error
        faulthandler.dump_traceback(self._number, all_threads=True)
        end = self._text.find(b"\0")
        text = self._text[:end] if end >= 0 else self._text[:]
        self.threads: List[str] = text.decode("ascii", "replace").split("\n\n")
        others = [t for t in self.threads if not t.startswith("Current")]
        self.whole = 0 <= end < _MOST - 1 and len(others) < len(self.threads) and not any(map(_is_cut, others))

    def close(self) -> None:
        """Give the file back."""
        self._text.close()
        os.close(self._number)


def _is_cut(paragraph: str) -> bool:
    return paragraph.startswith("...") or paragraph.count('\n  File "') >= _DEEPEST


def _file() -> int:
    # Not a pipe: it might be full, and whoever empties it could not run.
    try:
        return os.memfd_create("steersman-stacks")
    except (AttributeError, OSError):
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


def threads() -> Set[int]:
    """The threads that run Python, by `threading.get_ident`."""
    # Its own way of asking takes a lock, which whoever we interrupted may hold.
    found: Set[int] = set(getattr(threading, "_active", ()))
    try:
        stacks = Stacks()
    except OSError:
        return found
    stacks.close()
    return found | {int(head.group(1), 16) for head in map(_HEAD.match, stacks.threads) if head}
