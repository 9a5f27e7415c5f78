"""What happens around an optimizer's step: the overlay goes on and comes off, and gradients are looked at."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Set

import torch

from .budget import Budget
from .capture import Capture
from .gradients import Gradients
from .guard import Guard
from .orders import Orders
from .overlay import Overlay
from .ring import HostRing, peek
from .rows import CALLS, STEP_TIME, Row, Rows
from .running import Running
from .seen import Seen

_now = time.perf_counter_ns
_thread = threading.get_ident


class Steps(Gradients):
    """Follows the steps of all optimizers of this process.

    Args:
        capture: what the patched functions saw.
        rows: where rows go.
        ring: where values are copied to.
        overlay: what is laid on.
        orders: what is asked for.
        budget: what the probe may cost.
        sample_every: steps between two samples of the direction.
        listen: called before a step, now and then: read what the agent says.
        say: takes (kind, message, count).
        guard: the border.

    Attributes:
        claims: under "step" the step that is being made, or one that ended with an exception and is not healed yet; a
            thread that finds another's there leaves its own step alone.
        in_backward: whether an optimizer has stepped inside a backward.
        listen_every: nanoseconds between two looks at what the agent says.
    """

    listen_every = 50_000_000

    def __init__(
        self,
        capture: Capture,
        rows: Rows,
        ring: HostRing,
        overlay: Overlay,
        orders: Orders,
        budget: Budget,
        sample_every: int,
        listen: Callable[[], None],
        say: Callable[[str, str, int], None],
        guard: Guard,
    ) -> None:
        super().__init__(capture, rows, ring, overlay, orders, budget, sample_every, say)
        self._guard = guard
        self._listen = listen
        self.claims: Dict[str, Running] = {}
        self._ended = 0
        self._listened = 0
        self._spent = 0
        self._interrupted = 0
        self._written = 0
        self._made = 0
        self._overlapped = 0
        self._strangers: Set[int] = set()
        self._scale: Any = None
        self.in_backward = False

    def join(self, threads: Iterable[int]) -> None:
        """The job is under way: nobody knows what these threads had done of their rounds before we came.

        Half a sum of accumulated losses, the norm of gradients that were clipped already, or the mean over the second
        half of an evaluation would be numbers that the job never had.
        """
        self._strangers = set(threads)
        self._joined = True
        self.torn = 0

    @property
    def inside(self) -> bool:
        """Whether a step is being made at this moment, in any thread."""
        running = self.claims.get("step")
        return running is not None and running.alive()

    def before(self, seen: Seen, optimizer: Any, args: Any, kwargs: Dict[str, Any], frame: Any) -> Any:
        """The last pre-hook of an instance: new arguments where the closure was wrapped, else None."""
        began = _now()
        claims, thread = self.claims, _thread()
        running = claims.get("step")
        if running is not None:
            if running.alive():
                if running.thread != thread:
                    self._overlaps(running)
                return None
            self.heal(running)
        if seen.cuda and torch.cuda.is_current_stream_capturing():
            seen.captured = True
            return None
        running = Running(seen, frame, thread)
        if claims.setdefault("step", running) is not running:
            self._overlaps(claims.get("step"))
            return None
        if seen.number < 0:
            self.meet(seen, optimizer)
        if began - self._listened > self.listen_every:
            self._listened = began
            self._listen()
        self._made += 1
        if self.backwards:
            self.in_backward = True
        closure = args[1] if len(args) > 1 else kwargs.get("closure") if kwargs else None
        # With a closure the round's last backward is still to come; all of them are taken when it has returned.
        closed = callable(closure)
        gathered = None if closed else self._capture.take()
        if not closed and self._goes_on(seen, gathered):
            self._members.add(id(seen))
        elif len(self.stepping) == 1 and self.row is None:
            self._open_round()
        else:
            self._begin_round(seen, self._capture.threads.get(thread) if closed else gathered)
        if self._strangers and thread in self._strangers:
            self._strangers.discard(thread)
            self.torn = self.step
        if closure is not None and closed:
            wrapped = self._around(closure, running, optimizer)
            self._overlay.lay(optimizer)
            self._spent += _now() - began
            if len(args) > 1:
                return (args[0], wrapped, *args[2:]), kwargs
            return args, dict(kwargs, closure=wrapped)
        if gathered is not None and gathered.calls:
            self._note_loss(gathered)
        self._look(seen, optimizer, gathered)
        if self._overlay.in_force:
            self._overlay.lay(optimizer)
        self._spent += _now() - began
        return None

    def _overlaps(self, running: Optional[Running]) -> None:
        """Another thread is inside a step: this one is made as the job would without us, and that is said once."""
        gathered = self._capture.take()
        if gathered is not None and running is not None and running.thread != _thread():
            self._rows.abandon(gathered)
        self._overlapped += 1
        if self._overlapped == 1:
            words = (
                "threads step at the same time: a step that begins while another's is being made is not recorded, and "
                "an adjustment does not reach it"
            )
            self._say("steps_overlapped", words, 1)

    def before_scaler(self, scaler: Any, optimizer: Any) -> int:
        """A GradScaler is about to step an optimizer, or to leave that out; give the result to `after_scaler`."""
        capture = self._capture
        self._scale = getattr(scaler, "_scale", None)
        mine = capture.threads.get(_thread())
        if mine is not None and mine.clips:
            states = getattr(scaler, "_per_optimizer_states", {})
            stage = states.get(id(optimizer), {}).get("stage") if hasattr(states, "get") else None
            if getattr(stage, "name", "READY") == "READY" and getattr(scaler, "_scale", None) is not None:
                capture.unscale(scaler._scale)
        return self._made

    def after_scaler(self, scaler: Any, made: int) -> None:
        """It has; where the optimizer's step was not called, gradients were not finite and the step was left out."""
        mine = self._capture.threads.get(_thread())
        if self._made == made and mine is not None and mine.calls:
            self._drop()
            self._afresh = True
            self._skipped(peek(getattr(scaler, "_scale", None)))

    def _skipped(self, scale: Optional[float]) -> None:
        with_scale = "" if scale is None else f" at a scale of {scale:g}"
        self._say("step_skipped", f"GradScaler left a step out{with_scale}: a gradient was not finite", 1)
        if self.inquiry is not None:
            self.inquiry.again()

    def _around(self, closure: Callable[[], Any], running: Running, optimizer: Any) -> Callable[[], Any]:
        """The job's closure, which sees its own LR, and after which gradients are new for the first time."""
        guard = self._guard

        def wrapped() -> Any:
            lifted: List[Any] = []
            try:
                lifted = self._overlay.lift()
            except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
                guard.failed("before a closure")
            value = closure()
            try:
                if self.claims.get("step") is running and not guard.off:
                    if not running.closed:
                        running.closed = True
                        self._returned(running, optimizer)
                    self._overlay.relay(lifted)
            except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
                guard.failed("after a closure")
            return value

        return wrapped

    def _returned(self, running: Running, optimizer: Any) -> None:
        """The closure has returned for the first time in this step."""
        began = _now()
        gathered = self._capture.take()
        if gathered is not None and gathered.calls:
            self._note_loss(gathered)
        self._look(running.seen, optimizer, gathered)
        self._spent += _now() - began

    def after(self, seen: Seen, optimizer: Any, frame: Any) -> None:
        """The first post-hook of an instance."""
        running = self.claims.get("step")
        if running is None or running.frame is not frame:
            return
        began = _now()
        overlay = self._overlay
        row = self.row
        laid = bool(overlay.laid_on)
        if row is not None:
            self._read_lrs(seen, optimizer, row, laid)
        if laid:
            written = overlay.take_off()
            if written:
                self._written += written
                if self._written == written:
                    words = (
                        "the job set its own learning rate inside a step while an overlay was in force: the job's wins"
                    )
                    self._say("overlay_overwritten", words, written)
        if self.inquiry is not None and (inquiry := self._inquired()) is not None:
            groups = list(self._columns(seen, optimizer.param_groups))
            inquiry.step(
                optimizer,
                seen.number,
                [(seen.columns.index(two), two, one) for two, one in groups],
                laid,
                running.closed,
            )
        if seen.direction.watching:
            self._after_sample(seen, row)
        seen.count += 1
        if running.thread in self._capture.threads:
            # From further calls of a closure, or from within a step that makes two.
            again = self._capture.take()
            if again is not None:
                if row is not None and running.closed and row.present >> CALLS & 1:
                    row.numbers[CALLS] += again.calls
                self._rows.abandon(again)
        found_inf = optimizer.__dict__.get("found_inf")
        if found_inf is not None and self._left_out(seen, optimizer, found_inf, row):
            row = None
        now = _now()
        taken = (now - self._ended) * 1e-9 if self._ended else None
        self._ended = now
        if row is not None:
            row.time = time.time()
            if taken is not None and self.step > self._first:
                row.set(STEP_TIME, row.numbers[STEP_TIME] + taken)
            if seen.cuda:
                row.event = torch.cuda.Event()
                row.event.record()
                row.wait(None)
        if self.inquiry is not None and not self.inquiry.open:
            self._begin_inquiry(self.inquiry)
        # After the very first step nobody knows whether there are others in the same round.
        if len(self.stepping) == 1:
            if self.step > self._first and not self._kept:
                self.end_round()
            elif row is not None and not row.held:
                if self._capture.validated:
                    self._validate(row)
                row.held = True
        if taken is not None:
            spent = self._spent + self._capture.spent + _now() - began
            for gap in self._budget.note(taken, spent, self._measured, self._kind):
                self._say(gap.kind, gap.message, gap.every)
        self._spent = self._capture.spent = self._measured = 0
        self._release(running)

    def _release(self, running: Running) -> None:
        """That step is over."""
        if (running.end() or running.thread == _thread()) and self.claims.get("step") is running:
            self.claims.clear()
            running.frame = None

    def _left_out(self, seen: Seen, optimizer: Any, found_inf: Any, row: Optional[Row]) -> bool:
        """A fused optimizer that a GradScaler told of an infinite gradient: whether this step was none."""
        number = peek(found_inf)
        if number is None:
            if row is not None and isinstance(found_inf, torch.Tensor) and row.skipped is None:
                row.skipped = self._ring.put(found_inf.detach().reshape(()).float())
                if row.skipped is not None:
                    row.wait(row.skipped)
            return False
        if not number:
            return False
        seen.direction.forget()
        if len(self._members) <= 1:
            if row is not None:
                row.discarded = True
                row.wait(None)
                self.row = None
                self._rows.finish(row)
            self.step -= 1
        # After unscale_ the optimizer is told of no scale. Said at the last step that was made, as without `fused`.
        scale = peek(optimizer.__dict__.get("grad_scale"))
        self._skipped(peek(self._scale) if scale is None else scale)
        return True

    def before_backward(self) -> None:
        """Backward begins: a row that waited for other optimizers is over, and an unfinished step is healed."""
        running = self.claims.get("step")
        if running is not None:
            if running.alive():
                return
            self.heal(running)
        if self.row is None:
            return
        # What is kept open was another step's, perhaps another thread's: nobody may add to it meanwhile.
        running = Running(self.stepping[0], sys._getframe(1), _thread())
        if self.claims.setdefault("step", running) is running:
            try:
                self.end_round()
            finally:
                self._release(running)

    def heal(self, running: Optional[Running]) -> None:
        """A step ended with an exception: what it left of the overlay comes off before anything else happens."""
        # Its own thread may have been interrupted in the midst of ending or healing it, and goes on; another's may not.
        if running is None or not (running.end() or running.thread == _thread()):
            return
        self._drop()
        self._afresh = True
        laid = bool(self._overlay.laid_on)
        if laid:
            self._overlay.take_off()
        # Last: while it is claimed, nobody lays anything on what is not off yet.
        if self.claims.get("step") is running:
            self.claims.clear()
        if laid:
            self._interrupted += 1
            if self._interrupted == 1:
                words = "a step ended without torch's post-hooks, as after an exception; its overlay was taken off"
                self._say("step_interrupted", words, 1)

    def before_state(self) -> None:
        """A checkpoint is about to be taken: it never sees the overlay."""
        running = self.claims.get("step")
        if running is None:
            return
        if running.alive():
            running.lifted = self._overlay.lift()
        else:
            self.heal(running)

    def after_state(self) -> None:
        """A checkpoint was taken inside a step."""
        running = self.claims.get("step")
        if running is not None and running.lifted:
            lifted, running.lifted = running.lifted, None
            self._overlay.relay(lifted)

    def forget(self) -> None:
        """In the child of a fork: nothing of the parent's round is ours."""
        self._overlay.reset()
        self._orders.forget()
        self.claims = {}
        self.backwards = 0
        self.row = None
        self._members = set()
        self._strangers = set()
        self._ended = 0
        self.step = -1
        self.torn = -1
        self.inquiry = None
