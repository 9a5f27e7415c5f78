"""A factor (or a value) laid over the job's own learning rate for the length of one step."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import torch

from ...schedule import ramp
from .ring import peek


class _Laid:
    """One LR as it was and as we left it."""

    __slots__ = ("group", "laid", "own", "version")

    def __init__(self, group: Dict[str, Any], own: Any, laid: Any, version: int) -> None:
        self.group = group
        self.own = own
        self.laid = laid
        self.version = version

    def ours(self) -> bool:
        """Whether what stands there is still what we laid; a tensor is asked for its version, not for its value."""
        now: Any = self.group.get("lr")
        if isinstance(self.laid, torch.Tensor):
            return now is self.laid and int(self.laid._version) == self.version
        return type(now) is type(self.laid) and bool(now == self.laid)

    def restore(self) -> None:
        """Put the saved value back; it is never computed, so it is the job's to the last bit."""
        if isinstance(self.laid, torch.Tensor):
            with torch.no_grad():
                self.laid.copy_(self.own)
        else:
            self.group["lr"] = self.own


class Overlay:
    """What is laid on, keyed by group and LR tensor, and the target it moves to.

    `advance` is called once a round, `lay` before an outermost step and `take_off` after it. With a factor every group
    is multiplied by it; with a value the first group of the first optimizer gets the value, and every other LR keeps
    its ratio to it.

    Attributes:
        in_force: whether the next step gets another LR than the job's own.
        laid_on: what is laid on at this moment.
        now: the factor of this round.
    """

    def __init__(self) -> None:
        self.laid_on: List[_Laid] = []
        self._factor = 1.0
        self._value: Optional[float] = None
        self._start = 1.0
        self._over = 0
        self._done = 0
        self.in_force = False
        self.now = 1.0

    @property
    def settled(self) -> bool:
        """Whether the ramp is over."""
        return self._done >= self._over

    def aim(self, factor: Optional[float], value: Optional[float], over_steps: int) -> None:
        """Set a new target; the ramp starts from the factor that is in force."""
        self._start = self.now
        self._factor = 1.0 if factor is None else factor
        self._value = value
        self._over = over_steps
        self._done = 0
        self.in_force = True

    def advance(self, first: Any) -> None:
        """One round further: work out the factor for its steps from the first group's own LR."""
        if not self.in_force:
            return
        self._done += 1
        target = self._factor
        if self._value is not None:
            own = peek(first)
            # Nothing has a ratio to zero: until the job's own LR has left it, it is left alone.
            target = self._value / own if own else self.now
        self.now = ramp(self._start, target, self._done, self._over)
        if self._value is None and self.settled and self._factor == 1.0:
            self.in_force = False
            self.now = 1.0

    def lay(self, optimizer: Any) -> None:
        """Lay the overlay on every group of an optimizer whose step is about to be made."""
        if not self.in_force:
            return
        factor = self.now
        tensors = set()
        groups = set()
        for group in optimizer.param_groups:
            own = group.get("lr")
            if own is None or id(group) in groups:
                continue
            groups.add(id(group))
            if isinstance(own, torch.Tensor):
                if id(own) in tensors:
                    continue
                tensors.add(id(own))
                with torch.no_grad():
                    saved = own.clone()
                    self.laid_on.append(_Laid(group, saved, own, int(own._version) + 1))
                    own.mul_(factor)
                self.laid_on[-1].version = own._version
            else:
                laid = own * factor
                self.laid_on.append(_Laid(group, own, laid, 0))
                group["lr"] = laid

    def own_of(self, group: Dict[str, Any]) -> Any:
        """The job's own LR of a group, whether or not something is laid on it."""
        for laid in self.laid_on:
            if laid.group is group or (isinstance(laid.laid, torch.Tensor) and laid.laid is group.get("lr")):
                return laid.own
        return group.get("lr")

    def lift(self) -> List[_Laid]:
        """Take it off for a moment inside a step, as for a closure or a checkpoint; give the result to `relay`."""
        lifted = self.laid_on
        try:
            kept = [laid for laid in lifted if laid.ours()]
            for laid in reversed(kept):
                laid.restore()
        except Exception:
            # Whatever it was: the job gets its own LR back first, and the border that called us says what failed.
            _put_back(lifted)
            self.laid_on = []
            raise
        self.laid_on = []
        return kept

    def relay(self, lifted: List[_Laid]) -> None:
        """Lay on again what `lift` took off, over whatever the job's own LR has become meanwhile."""
        for laid in lifted:
            now = laid.group["lr"]
            if isinstance(laid.laid, torch.Tensor):
                if now is not laid.laid:
                    continue
                with torch.no_grad():
                    saved = now.clone()
                    self.laid_on.append(_Laid(laid.group, saved, now, int(now._version) + 1))
                    now.mul_(self.now)
                self.laid_on[-1].version = now._version
            else:
                self.laid_on.append(_Laid(laid.group, now, now * self.now, 0))
                laid.group["lr"] = now * self.now

    def take_off(self) -> int:
        """Take it off; how many LRs the job itself had written meanwhile, and which therefore stay as they are.

        Where that fails the job's own LR is put back without asking who wrote last, and the failure raised at the end.
        """
        laid = self.laid_on
        written = 0
        failure: Optional[BaseException] = None
        while laid:
            # Forgotten only when it is off: what a signal handler of the job's raises may end this at any line, and the
            # next who asks goes on. One that is off already reads as the job's own and stays.
            one = laid[-1]
            try:
                if one.ours():
                    one.restore()
                else:
                    written += 1
            except Exception as error:  # noqa: BLE001 - raised again below, when the others are off
                failure = error
                _put_back([one])
            if laid and laid[-1] is one:
                laid.pop()
        if failure is not None:
            raise failure
        return written

    def reset(self) -> None:
        """Take it off for good, as in the child of a fork, which nobody steers."""
        self.take_off()
        self.in_force = False
        self._factor = self._start = self.now = 1.0
        self._value = None
        self._over = self._done = 0


def _put_back(laid: List[_Laid]) -> None:
    """The job's own LRs, come what may: rather one that the job has overwritten since than one that was never its."""
    for one in reversed(laid):
        if isinstance(one.laid, torch.Tensor):
            with torch.no_grad():
                one.laid.copy_(one.own)
        else:
            one.group["lr"] = one.own
