"""When hooks may come and go: while no thread is inside an optimizer step."""

from __future__ import annotations

import gc
import re
import sys
import time
from typing import Any, Callable, Optional

from torch.optim.optimizer import Optimizer

from .stacks import Stacks

_AT_ONCE = 16
_LEAST, _LONGEST = 0.01, 2.0  # seconds between two looks at threads, after the first few


class Outside:
    """Does something once, as soon as no thread is inside an optimizer step, without a thread that waits for it.

    Torch walks its dictionaries of hooks in each step, and raises in the user's step where one has changed meanwhile.
    Where a step is being made, torch's own empty `Optimizer._optimizer_step_code` is replaced for so long: each step
    calls it between its walk over the pre-hooks and the one over the post-hooks, so that a step which stands there
    hinders nobody. A job whose whole loop runs inside steps, as with closures, is reached as well.

    Args:
        action: what is to be done, in whichever thread finds that it may; what it raises is the caller's to catch.
    """

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._original: Any = None
        self._placed: Any = None
        self._done = False
        self._tries = 0
        self._pause = _LEAST
        self._next = 0.0

    def begin(self) -> bool:
        """Do it now, or see to it that it is done; whether it is done."""
        self._try()
        if not self._done:
            self._original = Optimizer._optimizer_step_code
            self._placed = self._between(self._original)
            Optimizer._optimizer_step_code = self._placed  # type: ignore[method-assign]
        return self._done

    def _between(self, original: Any) -> Any:
        def _optimizer_step_code(optimizer: Any) -> Any:
            if not self._done and time.monotonic() >= self._next:
                self._try(besides=_nearest(sys._getframe(1)))
                self._tries += 1
                if self._tries > _AT_ONCE:
                    # Some jobs are never found outside, and must not pay for the looks.
                    self._next = time.monotonic() + self._pause
                    self._pause = min(2.0 * self._pause, _LONGEST)
            return original(optimizer)

        return _optimizer_step_code

    def _try(self, besides: Any = None) -> None:
        # From the look at the threads on nothing gives up the interpreter by itself, so that hardly a thread can begin
        # a step meanwhile. A collection could, by what it finalizes, and closing a file does.
        collecting = gc.isenabled()
        gc.disable()
        stacks = None
        try:
            stacks = _look()
            if stacks is not None and not self._done and not stepping(stacks, besides):
                self._do()
        finally:
            if collecting:
                gc.enable()
            if stacks is not None:
                stacks.close()

    def _do(self) -> None:
        self._done = True
        if self._placed is not None and Optimizer.__dict__.get("_optimizer_step_code") is self._placed:
            Optimizer._optimizer_step_code = self._original  # type: ignore[method-assign]
        self._action()


def stepping(stacks: Stacks, besides: Any = None) -> bool:
    """Whether any thread is inside torch's wrapper around an optimizer's step, or may be, for all that could be seen.

    Args:
        stacks: those of all threads, just taken.
        besides: a frame of the wrapper that does not count, for its step is where hooks may change.
    """
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame is not besides and _is_step(frame.f_code):
            return True
        frame = frame.f_back
    others = [stack for stack in stacks.threads if not stack.startswith("Current")]
    return not stacks.whole or any(map(_LINE.search, others))


def _look() -> Optional[Stacks]:
    try:
        return Stacks()
    except OSError:
        return None  # the next step may have a file for it


def _nearest(frame: Any) -> Any:
    """The innermost frame of the wrapper; others may stand between it and us that replaced the same function."""
    while frame is not None and not _is_step(frame.f_code):
        frame = frame.f_back
    return frame


def _wrapper() -> Any:
    """The code of torch's wrapper, or of what makes it where torch builds it in another way than it has so far."""
    made: Any = Optimizer.profile_hook_step
    for constant in made.__code__.co_consts:
        if getattr(constant, "co_name", "") == "wrapper":
            return constant
    return made.__code__


_CODE: Any = _wrapper()
# By the end of the file's name, for the rest may be written otherwise or be too long to be written whole.
_LINE = re.compile(r'File ".*(?:torch[/\\]optim[/\\]optimizer\.py|\.\.\.)"?, line \S+ in wrapper$', re.MULTILINE)


def _is_step(code: Any) -> bool:
    return code is _CODE or bool(code.co_name == "wrapper" and code.co_filename == _CODE.co_filename)
