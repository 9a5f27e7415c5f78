"""What happens around an optimizer's step: the overlay goes on and comes off, and one row is gathered."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, List, Optional, Set

import torch

from .budget import Budget
from .capture import Capture
from .guard import Guard
from .orders import Orders
from .overlay import Overlay
from .ring import HostRing, Number, Slot, peek
from .rows import CALLS, GRAD_NORM, STEP_TIME, Row, Rows
from .running import Running
from .seen import Seen

_now = time.perf_counter_ns
_thread = threading.get_ident
# What torch.no_grad calls; as a context manager it takes longer than most of what is done within it.
_is_grad_enabled, _set_grad_enabled = torch.is_grad_enabled, torch._C._set_grad_enabled
# What was done on a step, as bits: steps on which the same was done have costs that can be compared.
_ROW, _NORM, _DIRECTION = 1, 2, 4


class Steps:
    """Follows the steps of all optimizers of this process.

    A round is what happens between two rounds of backward calls; each gives one row. With one optimizer a round is a
    step. With several, the row is kept open until the next backward, or until one of them steps again.

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
        running: the step that is being made, or one that ended with an exception and is not healed yet.
        stepping: the optimizers that step, in the order of their numbers.
        met: how many there have been, those included that are gone.
        step: number of the open or last round; -1 before the first.
        row: the row of the open round.
        backwards: how many backward calls are being made at this moment, one within the other.
        in_backward: whether an optimizer has stepped inside a backward.
    """

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
        self._guard = guard
        self._capture = capture
        self._rows = rows
        self._ring = ring
        self._overlay = overlay
        self._orders = orders
        self._budget = budget
        self._sample_every = sample_every
        self._listen = listen
        self._say = say
        self.running: Optional[Running] = None
        self._members: Set[int] = set()
        self.row: Optional[Row] = None
        self._ended = 0
        self._listened = 0
        self._spent = 0
        self._measured = 0
        self._kind = 0
        self._interrupted = 0
        self._written = 0
        self.met = 0
        self._made = 0
        self._closed = False
        self._summed = False
        self.backwards = 0
        self.in_backward = False
        self.stepping: List[Seen] = []
        self.step = -1

    @property
    def inside(self) -> bool:
        """Whether a step is being made at this moment, in any thread."""
        return self.running is not None and self.running.alive()

    def before(self, seen: Seen, optimizer: Any, args: Any, kwargs: Dict[str, Any], frame: Any) -> Any:
        """The last pre-hook of an instance: new arguments where the closure was wrapped, else None."""
        began = _now()
        running = self.running
        if running is not None:
            if running.alive():
                return None
            self.heal()
        if seen.cuda and torch.cuda.is_current_stream_capturing():
            seen.captured = True
            return None
        running = self.running = Running(seen, frame, _thread())
        if seen.number < 0:
            self.meet(seen, optimizer)
        if began - self._listened > 10_000_000:
            self._listened = began
            self._listen()
        self._made += 1
        if self.backwards:
            self.in_backward = True
        closure = args[1] if len(args) > 1 else kwargs.get("closure") if kwargs else None
        # With a closure the round's last backward is still to come; all of them are taken when it has returned.
        self._closed = callable(closure)
        if len(self.stepping) == 1 and self.row is None:
            self._open_round()
        else:
            self._begin_round(seen)
        if closure is not None and self._closed:
            wrapped = self._around(closure, running, optimizer)
            self._overlay.lay(optimizer)
            self._spent += _now() - began
            if len(args) > 1:
                return (args[0], wrapped, *args[2:]), kwargs
            return args, dict(kwargs, closure=wrapped)
        self._look(seen, optimizer)
        if self._overlay.in_force:
            self._overlay.lay(optimizer)
        self._spent += _now() - began
        return None

    def before_scaler(self, scaler: Any, optimizer: Any) -> int:
        """A GradScaler is about to step an optimizer, or to leave that out; give the result to `after_scaler`."""
        capture = self._capture
        if capture.clips:
            states = getattr(scaler, "_per_optimizer_states", {})
            stage = states.get(id(optimizer), {}).get("stage") if hasattr(states, "get") else None
            if getattr(stage, "name", "READY") == "READY" and getattr(scaler, "_scale", None) is not None:
                capture.unscale(scaler._scale)
        return self._made

    def after_scaler(self, scaler: Any, made: int) -> None:
        """It has; where the optimizer's step was not called, gradients were not finite and the step was left out."""
        if self._made == made and self._capture.backward_since_step:
            self._drop()
            self._skipped(peek(getattr(scaler, "_scale", None)))

    def _skipped(self, scale: Optional[float]) -> None:
        with_scale = "" if scale is None else f" at a scale of {scale:g}"
        self._say("step_skipped", f"GradScaler left a step out{with_scale}: a gradient was not finite", 1)

    def _drop(self) -> None:
        """What was captured since the last step belongs to no round."""
        if self._capture.backward_since_step:
            self._rows.abandon(self._capture.take_loss())
        self._capture.clips = []

    def meet(self, seen: Seen, optimizer: Any) -> None:
        """An optimizer that steps by itself, or was shown to us: it gets its number and columns.

        A script that makes a new optimizer for each episode has one series: the number of one that is gone is free.
        """
        self.met += 1
        for number, other in enumerate(self.stepping):
            if other.ref() is None:
                seen.number = number
                self.stepping[number] = seen
                self._members.discard(id(other))
                seen.columns = self._rows.lr_columns(number, len(optimizer.param_groups))
                return
        seen.number = len(self.stepping)
        self.stepping.append(seen)
        if len(self.stepping) == 2 and self.step >= 0:
            self._members = {id(self.stepping[0])}  # who made the last round: alone it was not written down
        seen.columns = self._rows.lr_columns(seen.number, len(optimizer.param_groups))

    def _begin_round(self, seen: Seen) -> None:
        same = self.backwards > 0 and self.row is not None and self._members
        if same or (self._members and id(seen) not in self._members and not self._capture.backward_since_step):
            self._members.add(id(seen))
            return
        if self.row is not None:
            self.end_round()
        if len(self._members) != 1 or id(seen) not in self._members:
            self._members = {id(seen)}
        self._open_round()

    def _open_round(self) -> None:
        self.step = step = self.step + 1
        self._kind = 0
        ordered = self._orders.open
        if ordered:
            self._orders.begin(step)
            ordered = self._orders.open
        if self._overlay.in_force:
            self._overlay.advance(self._first_lr())
        if ordered or step % self._budget.rows_every == 0:
            self.row = Row(step, self._rows.width)
            self._kind = _ROW
        if self._capture.backward_since_step and not self._closed:
            self._take_loss()

    def _first_lr(self) -> Any:
        optimizer = self.stepping[0].ref()
        return None if optimizer is None else self._overlay.own_of(optimizer.param_groups[0])

    def _take_loss(self) -> None:
        loss = self._capture.take_loss()
        if loss.summed and not self._summed:
            self._summed = True
            words = (
                f"the loss of a step is the sum over its {loss.calls} backward calls: nothing shows that each was "
                "divided by their number"
            )
            self._say("loss_is_a_sum", words, 1)
        row = self.row
        if row is not None and not row.present >> CALLS & 1:
            row.add_loss(loss)
            return
        self._rows.abandon(loss)

    def _look(self, seen: Seen, optimizer: Any) -> None:
        """Read the gradients that the step will use, without waiting for them."""
        began = _now()
        budget, capture, row = self._budget, self._capture, self.row
        wanted = row is not None and self.step % budget.norm_every == 0
        norm = seen.norm
        if wanted or capture.clips:
            scale = optimizer.__dict__.get("grad_scale")
            gradients = norm.gradients(optimizer)
            clip = capture.take_clip(len(gradients)) if capture.clips else None
            found: Optional[Number] = None
            if clip is not None:
                if type(clip.norm) is torch.Tensor:
                    found = self._ring.bring(clip.norm)
                elif row is not None:
                    seen.shards.clipped(clip.norm, row, self._rows, self._say)
                if row is not None and clip.most > 0 and not row.norms:
                    column = self._rows.column("clipped_norm")
                    row.widen(self._rows.width)
                    row.clipped = (column, clip.most) if column >= 0 else None
            elif wanted:
                found = norm.take(gradients, scale)
                if not norm.known and row is not None:
                    seen.shards.measure(optimizer, gradients, scale, row, self._rows, self._say)
                self._kind |= _NORM
            if row is not None and found is not None:
                if type(found) is float and not row.norms:
                    row.norms = 1
                    row.numbers[GRAD_NORM] = found
                    row.present |= 1 << GRAD_NORM
                    if row.clipped is not None:
                        row.read_clipped()
                        row.clipped = None
                else:
                    row.add_norm(found)
        every = budget.norm_every * self._sample_every
        if seen.direction.watched or seen.count % every == every - 1:
            self._sample(seen, optimizer, row, every)
        norm.flat = None
        self._measured += _now() - began

    def _sample(self, seen: Seen, optimizer: Any, row: Optional[Row], every: int) -> None:
        """One step in ten is watched, and the gradients of the step after it are compared with what it changed."""
        direction, flat = seen.direction, seen.norm.flat
        if optimizer.__dict__.get("grad_scale") is not None or not direction.look(optimizer):
            direction.forget()
            return
        self._kind |= _DIRECTION
        training = _is_grad_enabled()
        _set_grad_enabled(False)
        try:
            if direction.watched:
                if row is not None and row.sums is None:
                    row.sums = direction.compare(optimizer, flat, seen.norm.square)
                    if row.sums is not None:
                        row.wait(row.sums.slot)
                else:
                    direction.forget()
            if seen.count % every == every - 1:
                direction.watch(optimizer, flat, seen.norm.square)
        finally:
            _set_grad_enabled(training)

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
                if self.running is running and not guard.off:
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
        if self._capture.backward_since_step:
            self._take_loss()
        self._look(running.seen, optimizer)
        self._spent += _now() - began

    def after(self, seen: Seen, optimizer: Any, frame: Any) -> None:
        """The first post-hook of an instance."""
        running = self.running
        if running is None or running.frame is not frame:
            return
        began = _now()
        self.running = None
        running.frame = None
        overlay = self._overlay
        row = self.row
        laid = bool(overlay.laid_on)
        if len(seen.columns) < len(optimizer.param_groups):
            seen.columns = self._rows.lr_columns(seen.number, len(optimizer.param_groups))
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
        if seen.direction.watching:
            self._after_sample(seen, row)
        seen.count += 1
        if self._capture.backward_since_step or self._capture.clips:
            self._drop()  # from further calls of a closure, or from within a step that makes two
        found_inf = optimizer.__dict__.get("found_inf")
        if found_inf is not None and self._left_out(seen, optimizer, found_inf, row):
            row = None
        now = _now()
        taken = (now - self._ended) * 1e-9 if self._ended else None
        self._ended = now
        if row is not None:
            row.time = time.time()
            if taken is not None and not row.present >> STEP_TIME & 1:
                row.set(STEP_TIME, taken)
            if seen.cuda:
                row.event = torch.cuda.Event()
                row.event.record()
                row.wait(None)
        # After the very first step nobody knows whether another optimizer steps in the same round.
        if len(self.stepping) == 1:
            if self.step > 0:
                self.end_round()
            elif row is not None:
                if self._capture.validated:
                    self._validate(row)
                row.held = True
        if taken is not None:
            spent = self._spent + self._capture.spent + _now() - began
            for gap in self._budget.note(taken, spent, self._measured, self._kind):
                self._say(gap.kind, gap.message, gap.every)
        self._spent = self._capture.spent = self._measured = 0

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
        self._skipped(peek(optimizer.__dict__.get("grad_scale")))
        seen.direction.forget()
        if len(self._members) <= 1:
            if row is not None:
                row.discarded = True
                row.wait(None)
                self.row = None
                self._rows.finish(row)
            self.step -= 1
        return True

    def _read_lrs(self, seen: Seen, optimizer: Any, row: Row, laid: bool) -> None:
        if len(row.numbers) < self._rows.width:
            row.widen(self._rows.width)
        for columns, group in zip(seen.columns, optimizer.param_groups):
            lr = group.get("lr")
            if type(lr) is float:
                row.numbers[columns[0]] = lr
                row.present |= 1 << columns[0]
            else:
                self._note(row, columns[0], lr)
            if laid:
                self._note(row, columns[1], self._overlay.own_of(group))
        if self._orders.open:
            row.lr_columns += tuple(seen.columns)

    def _note(self, row: Row, column: int, lr: Any) -> None:
        number = peek(lr)
        if number is not None:
            row.set(column, number)
        elif isinstance(lr, torch.Tensor) and lr.numel() == 1 and not lr.is_cpu:
            slot = self._ring.put(lr.detach().reshape(()))
            if slot is not None:
                row.expect(column, slot)

    def _after_sample(self, seen: Seen, row: Optional[Row]) -> None:
        began = _now()
        training = _is_grad_enabled()
        _set_grad_enabled(False)
        try:
            gain = seen.direction.after(row is not None and row.gain is None)
        finally:
            _set_grad_enabled(training)
        if gain is not None and row is not None:
            row.gain = gain
            row.wait(gain.slot)
        self._measured += _now() - began

    def end_round(self) -> None:
        """The open round is over: its row goes out."""
        row, self.row = self.row, None
        if row is None:
            return
        if not row.time:
            # Its step ended with an exception.
            row.discarded = True
            row.wait(None)
            self._rows.finish(row)
            return
        if self._capture.validated and not row.held:
            self._validate(row)
        if self._orders.open:
            row.due = self._orders.made()
        self._rows.finish(row)

    def _validate(self, row: Row) -> None:
        for name, found in self._capture.take_validation().items():
            column = self._rows.column(name)
            if column < 0:
                continue
            total = self._ring.bring(found.total.reshape(())) if isinstance(found.total, torch.Tensor) else found.total
            if isinstance(total, Slot):
                row.expect(column, total, found.calls)
            elif total is not None:
                row.set(column, total / found.calls)

    def finish(self) -> None:
        """The job ends: the open row goes out, and one more for validation losses that came after the last step."""
        self.end_round()
        if self._capture.validated and self.step >= 0:
            row = Row(self.step, self._rows.width)
            row.time = time.time()
            self._validate(row)
            self._rows.finish(row)

    def before_backward(self) -> None:
        """Backward begins: a row that waited for other optimizers is over, and an unfinished step is healed."""
        if self.running is not None:
            if self.running.alive():
                return
            self.heal()
        if self.row is not None:
            self.end_round()

    def heal(self) -> None:
        """A step ended with an exception: what it left of the overlay comes off before anything else happens."""
        running, self.running = self.running, None
        if running is None:
            return
        self._drop()
        if self._overlay.laid_on:
            self._overlay.take_off()
            self._interrupted += 1
            if self._interrupted == 1:
                words = "a step ended without torch's post-hooks, as after an exception; its overlay was taken off"
                self._say("step_interrupted", words, 1)

    def before_state(self) -> None:
        """A checkpoint is about to be taken: it never sees the overlay."""
        running = self.running
        if running is None:
            return
        if running.alive():
            running.lifted = self._overlay.lift()
        else:
            self.heal()

    def after_state(self) -> None:
        """A checkpoint was taken inside a step."""
        running = self.running
        if running is not None and running.lifted:
            lifted, running.lifted = running.lifted, None
            self._overlay.relay(lifted)

    def forget(self) -> None:
        """In the child of a fork: nothing of the parent's round is ours."""
        self._overlay.reset()
        self._orders.forget()
        self.running = None
        self.backwards = 0
        self.row = None
        self._members = set()
        self._ended = 0
        self.step = -1
