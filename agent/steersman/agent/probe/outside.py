"""When hooks may come and go: while no thread is inside an optimizer step."""

from __future__ import annotations

import gc
import sys
from typing import Any, Callable

from torch.optim.optimizer import Optimizer


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

    def begin(self) -> bool:
        """Do it now, or see to it that it is done; whether it is done."""
        if not stepping():
            self._do()
        else:
            self._original = Optimizer._optimizer_step_code
            self._placed = self._between(self._original)
            Optimizer._optimizer_step_code = self._placed  # type: ignore[method-assign]
        return self._done

    def _between(self, original: Any) -> Any:
        def _optimizer_step_code(optimizer: Any) -> Any:
            if not self._done and not stepping(besides=_nearest(sys._getframe(1))):
                self._do()
            return original(optimizer)

        return _optimizer_step_code

    def _do(self) -> None:
        # From the look at the threads on nothing gives up the interpreter: no other thread can begin a step meanwhile.
        # A collection could, by what it finalizes.
        collecting = gc.isenabled()
        gc.disable()
        try:
            self._done = True
            if self._placed is not None and Optimizer.__dict__.get("_optimizer_step_code") is self._placed:
                Optimizer._optimizer_step_code = self._original  # type: ignore[method-assign]
            self._action()
        finally:
            if collecting:
                gc.enable()


def stepping(besides: Any = None) -> bool:
    """Whether any thread is inside torch's wrapper around an optimizer's step.

    Args:
        besides: a frame of the wrapper that does not count, for its step is where hooks may change.
    """
    wrapper = _wrapper()
    for frame in sys._current_frames().values():
        looked: Any = frame
        while looked is not None:
            if looked is not besides and _is_step(looked.f_code, wrapper):
                return True
            looked = looked.f_back
    return False


def _nearest(frame: Any) -> Any:
    """The innermost frame of the wrapper; others may stand between it and us that replaced the same function."""
    wrapper = _wrapper()
    while frame is not None and not _is_step(frame.f_code, wrapper):
        frame = frame.f_back
    return frame


def _wrapper() -> Any:
    """The code of torch's wrapper; None where torch builds it in another way than it has so far."""
    made: Any = Optimizer.profile_hook_step
    for constant in made.__code__.co_consts:
        if getattr(constant, "co_name", "") == "wrapper":
            return constant
    return None


def _is_step(code: Any, wrapper: Any) -> bool:
    if wrapper is not None:
        return code is wrapper
    return bool(code.co_name == "wrapper" and code.co_filename.endswith("optimizer.py"))
