"""The hooks on the job's optimizers: how an optimizer is found, and how its steps are followed."""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, List

from torch.optim.optimizer import register_optimizer_step_pre_hook

from .compiling import COMPILING, compiler_flags
from .guard import Guard
from .overlay import Overlay
from .ring import HostRing, peek
from .seen import Seen
from .steps import Steps


class Hooks:
    """A global hook that finds optimizers, and hooks on each instance that was found.

    Args:
        steps: follows the steps.
        overlay: comes off after a step that is not followed.
        ring: where values are copied to.
        guard: the border.
        say: takes (kind, message, count).

    Attributes:
        closed: whether the probe is leaving: hooks that are still there do nothing then.
        stayed: whether they are still there because a step was being made when the probe left.
    """

    def __init__(
        self, steps: Steps, overlay: Overlay, ring: HostRing, guard: Guard, say: Callable[[str, str, int], None]
    ) -> None:
        self._steps = steps
        self._overlay = overlay
        self._ring = ring
        self._guard = guard
        self._say = say
        self._handles: List[Any] = []
        self._seen: Dict[int, Seen] = {}
        self.closed = False
        self.stayed = False

    def place(self) -> None:
        """Begin to find optimizers."""
        self._handles = [register_optimizer_step_pre_hook(_finder(self))]

    def remove(self) -> None:
        """Take all hooks off, whatever fails. Never while a step is being made: torch would raise in it."""
        handles, self._handles = self._handles, []
        seen, self._seen = list(self._seen.values()), {}
        self.stayed = False
        self._guard.each("at the end", *(handle.remove for handle in handles), *(one.unhook for one in seen))

    def meet(self, optimizer: Any) -> Seen:
        """What is known of an optimizer; one that was not known gets its hooks."""
        seen = self._seen.get(id(optimizer))
        if seen is not None and seen.ref() is optimizer:
            return seen
        key, known = id(optimizer), self._seen

        def forget() -> None:
            # Another may live at the same address by now.
            there = known.get(key)
            if there is not None and there.ref() is None:
                del known[key]

        seen = Seen(optimizer, self._ring, forget)
        known[key] = seen
        before, after = _around(self, seen, self._steps, self._overlay, self._guard)

        def loaded(optimizer: Any) -> None:
            self._loaded(seen, optimizer)

        seen.hook(before, after, self._before_state, self._after_state, loaded)
        return seen

    # what torch calls, each with the border in it

    def find(self, optimizer: Any) -> None:
        """The global pre-hook: it only finds optimizers, and sees to the order of our hooks on them."""
        if self.closed or self._guard.off:
            return
        try:
            seen = self._seen.get(id(optimizer))
            if seen is None or seen.ref() is not optimizer:
                seen = self.meet(optimizer)
            if not self._steps.claims or not self._steps.inside:
                seen.outermost(optimizer)
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("when it met an optimizer")

    def rescue(self) -> None:
        """Whatever failed, the job gets its own learning rate back."""
        try:
            self._steps.heal(self._steps.claims.get("step"))
            self._overlay.take_off()
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("when it took the overlay off")

    def _loaded(self, seen: Seen, optimizer: Any) -> None:
        """A state was loaded into an optimizer: the run may have gone back."""
        if self.closed or self._guard.off:
            return
        try:
            seen.direction.forget()
            if self._steps.step >= 0:
                count = next((peek(s["step"]) for s in optimizer.state.values() if "step" in s), None)
                at = "" if count is None else f", which has made {count:g} steps by its own count"
                self._say("state_loaded", f"a saved state was loaded into optimizer {seen.number}{at}", 1)
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("when a state was loaded")

    def _before_state(self, optimizer: Any) -> None:
        try:
            self._steps.before_state()
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("before a checkpoint")

    def _after_state(self, optimizer: Any, state: Any) -> None:
        try:
            self._steps.after_state()
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("after a checkpoint")


def _finder(hooks: Hooks) -> Any:
    def find(optimizer: Any, args: Any, kwargs: Any) -> None:
        hooks.find(optimizer)

    vars(find)["_torchdynamo_disable"] = True
    return find


def _around(hooks: Hooks, seen: Seen, steps: Steps, overlay: Overlay, guard: Guard) -> Any:
    """The two hooks of one instance. Torch's wrapper is their caller, and its frame names the step.

    They hold what they need: every object between them and the work is looked for in memory at every step, where the
    job's own tensors have just been.
    """
    frame_of: Callable[[int], Any] = sys._getframe
    flags = compiler_flags()

    def before(optimizer: Any, args: Any, kwargs: Any) -> Any:
        if hooks.closed or guard.off or flags[COMPILING]:
            return None
        try:
            return steps.before(seen, optimizer, args, kwargs, frame_of(1))
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            guard.failed("before a step")
            return None

    def after(optimizer: Any, args: Any, kwargs: Any) -> None:
        if flags[COMPILING]:
            return
        try:
            if hooks.closed or guard.off:
                overlay.take_off()
            else:
                steps.after(seen, optimizer, frame_of(1))
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            try:
                guard.failed("after a step")
            finally:
                hooks.rescue()

    # What torch.compiler.disable sets, without importing dynamo for it: called as they are where a step is compiled.
    # Torch breaks the graph there anyway, in the optimizers' own `_use_grad_for_differentiable`.
    for hook in (before, after):
        vars(hook)["_torchdynamo_disable"] = True
    return before, after
