"""COMMANDs from the agent, judged and answered."""

from __future__ import annotations

import math
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from . import packet
from .overlay import Overlay


class Order:
    """One adjustment on its way through the probe."""

    __slots__ = ("adjustment_id", "applied", "counter", "expires_at", "factor", "last", "over_steps", "value")

    def __init__(self, message: Dict[str, Any]) -> None:
        overlay = message["overlay"]
        self.adjustment_id = str(message["adjustment_id"])
        self.factor: Optional[float] = float(overlay["factor"]) if overlay.get("factor") is not None else None
        self.value: Optional[float] = float(overlay["value"]) if overlay.get("value") is not None else None
        self.over_steps = int(message.get("over_steps") or 0)
        self.expires_at = float(message["expires_at"])
        self.counter = int(message["counter"])
        self.applied = False
        self.last: Optional[bytes] = None  # the last ACK, said again when the COMMAND comes again

    def fault(self) -> Optional[str]:
        """What is wrong with it in itself."""
        if (self.factor is None) == (self.value is None):
            return "an overlay has either a factor or a value"
        number = self.factor if self.factor is not None else self.value
        if number is None or not math.isfinite(number) or number <= 0.0:
            return f"{number!r} is no learning rate or factor to step with"
        if self.over_steps < 0:
            return f"a ramp of {self.over_steps} steps"
        return None


class Orders:
    """Judges COMMANDs, sets the overlay's target and answers.

    armed when it was received and may be laid on; applied with the LRs that were read back inside the first step;
    settled when the ramp is over; refused, with words.

    Args:
        overlay: what they steer.
        send: takes an ACK packet.
        hindrance: why the job's optimizers may not be steered, or None.

    Attributes:
        open: whether an order waits to be laid on, or is on its ramp.
    """

    def __init__(self, overlay: Overlay, send: Callable[[bytes], None], hindrance: Callable[[Order], Optional[str]]):
        self._overlay = overlay
        self._send = send
        self._hindrance = hindrance
        self._counter = -1
        self._waiting: Optional[Order] = None
        self._order: Optional[Order] = None
        self._newest: Optional[Order] = None
        self.open = False

    def take(self, message: Dict[str, Any], step: int) -> None:
        """Judge one COMMAND and answer armed or refused."""
        order = Order(message)
        newest = self._newest
        if newest is not None and newest.counter == order.counter and newest.adjustment_id == order.adjustment_id:
            if newest.last is not None:
                self._send(newest.last)
            return
        if order.counter <= self._counter:
            words = f"command {order.counter} came after command {self._counter}"
            self._refuse(order, step, words)
            return
        self._counter = order.counter
        self._newest = order
        words_or_none = self._late(order) or order.fault() or self._hindrance(order)
        if words_or_none is not None:
            self._refuse(order, step, words_or_none)
            return
        superseded, self._waiting = self._waiting, order
        self.open = True
        if superseded is not None:
            self._refuse(superseded, step, f"superseded by adjustment {order.adjustment_id} before it was laid on")
        self._answer(order, "armed", -1, [], [], "")

    def begin(self, step: int) -> None:
        """A round begins: what is armed becomes the overlay's target, unless it is too late for it."""
        order = self._waiting
        if order is None:
            return
        self._waiting = None
        words = self._late(order) or self._hindrance(order)
        if words is not None:
            self.open = self._order is not None
            self._refuse(order, step, words)
            return
        self._overlay.aim(order.factor, order.value, order.over_steps)
        self._order = order

    def made(self) -> List[Tuple[Order, str]]:
        """A round was made with the overlay: what to report of it once its LRs have been read back."""
        order = self._order
        if order is None:
            return []
        due: List[Tuple[Order, str]] = []
        if not order.applied:
            order.applied = True
            due.append((order, "applied"))
        if self._overlay.settled:
            due.append((order, "settled"))
            self._order = None
            self.open = self._waiting is not None
        return due

    def report(self, due: Sequence[Tuple[Order, str]], step: int, lr: List[float], own_lr: List[float]) -> None:
        """Answer with what was read back inside the step."""
        for order, state in due:
            self._answer(order, state, step, lr, own_lr, "")

    def forget(self) -> None:
        """In the child of a fork: what was ordered was ordered of its parent."""
        self._waiting = self._order = self._newest = None
        self.open = False

    def _late(self, order: Order) -> Optional[str]:
        late = time.time() - order.expires_at
        return f"it expired {late:.1f} s before it could be laid on" if late > 0 else None

    def _refuse(self, order: Order, step: int, words: str) -> None:
        self._answer(order, "refused", -1, [], [], words)

    def _answer(self, order: Order, state: str, step: int, lr: List[float], own_lr: List[float], words: str) -> None:
        message = {
            "adjustment_id": order.adjustment_id,
            "state": state,
            "step": step,
            "lr": lr,
            "own_lr": own_lr,
            "message": words,
            "time": time.time(),
        }
        order.last = packet.pack_json(packet.ACK, message)
        self._send(order.last)
