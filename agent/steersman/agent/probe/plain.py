"""The short way through an ordinary step: what most steps are, in as few calls and objects as it can be done."""

from __future__ import annotations

import threading
import time
from typing import Any, Dict, Optional

from .rounds import NORM, ROW
from .rows import CALLS, GRAD_NORM, LOSS, STEP_TIME, Row
from .running import Running
from .seen import Seen
from .steps import Steps

_now, _clock = time.perf_counter_ns, time.time
_thread = threading.get_ident
_WHOLE = 1 << LOSS | 1 << CALLS


class PlainSteps(Steps):
    """Follows steps as `Steps` does, which says what happens; here is how it happens quickly.

    In the middle of a training loop every object that is touched has been pushed out of the processor's caches by the
    job's own work, so that a call costs ten times what it does in a loop of its own. A step is plain where one
    optimizer steps without a closure, after one backward of one loss in host memory, with nothing ordered, laid on,
    clipped, scaled, logged or waiting. Whatever else it is, or may be, goes the long way before anything was changed.
    """

    _plain: Optional[Seen] = None
    """The optimizer whose last step was plain, or could have been."""
    _short: Optional[Running] = None
    """The step that is being made the short way."""

    def before(self, seen: Seen, optimizer: Any, args: Any, kwargs: Dict[str, Any], frame: Any) -> Any:
        """The last pre-hook of an instance: new arguments where the closure was wrapped, else None."""
        thread = _thread()
        threads = self._capture.threads
        gathered = threads.get(thread)
        if (
            self._plain is not seen
            or gathered is None
            or not gathered.plain
            or self.claims
            or self.row is not None
            or len(self.stepping) != 1
            or self.backwards
            or len(args) != 1
            or kwargs
            or self._capture.validated
            or "grad_scale" in optimizer.__dict__
            or "found_inf" in optimizer.__dict__
        ):
            self._short = None
            return super().before(seen, optimizer, args, kwargs, frame)
        began = _now()
        running = Running(seen, frame, thread)
        if self.claims.setdefault("step", running) is not running:
            self._overlaps(self.claims.get("step"))
            return None
        if began - self._listened > self.listen_every:
            self._listened = began
            self._listen()
            if self._orders.open or self._plain is not seen:
                self._release(running)
                return super().before(seen, optimizer, args, kwargs, frame)
        self._short = running
        del threads[thread]
        self._made += 1
        self.step = step = self.step + 1
        self._kind = ROW
        self.row = row = Row(step, self._rows.width)
        numbers = row.numbers
        numbers[LOSS] = gathered.total
        numbers[CALLS] = 1.0
        row.present = _WHOLE
        looked = _now()
        norm, every = seen.norm, self._budget.norm_every
        if step % every == 0:
            self._kind = ROW | NORM
            gradients = []
            for group in optimizer.param_groups:
                gradients += [g for p in group["params"] if (g := p.grad) is not None]
            value = norm.take(gradients, None)
            if type(value) is float:
                row.norms = 1
                numbers[GRAD_NORM] = value
                row.present = _WHOLE | 1 << GRAD_NORM
            elif value is not None:
                row.add_norm(value)
            elif not norm.known:
                self._measure(seen, optimizer, gradients, None, row, norm.why)
        every *= self._sample_every
        if seen.direction.watched or gathered.origins or seen.count % every == every - 1:
            self._sample(seen, optimizer, row, every, gathered)
        norm.flat = None
        ended = _now()
        self._measured += ended - looked
        self._spent += ended - began
        return None

    def after(self, seen: Seen, optimizer: Any, frame: Any) -> None:
        """The first post-hook of an instance."""
        running, row = self._short, self.row
        if running is None or running.frame is not frame or row is None:
            super().after(seen, optimizer, frame)
            self._plain = seen if self._can_be_plain(seen) else None
            return
        began = _now()
        self._short = self.row = None
        groups = optimizer.param_groups
        if len(seen.columns) < len(groups):
            seen.columns = self._rows.lr_columns(seen.number, len(groups))
        numbers = row.numbers
        if len(numbers) < self._rows.width:
            row.widen(self._rows.width)
        there = 1 << STEP_TIME
        for (column, _), group in zip(seen.columns, groups):
            lr = group.get("lr")
            if type(lr) is float:
                numbers[column] = lr
                there |= 1 << column
            else:
                self._note(row, column, lr)
        if seen.direction.watching:
            self._after_sample(seen, row)
        seen.count += 1
        if running.thread in self._capture.threads:
            self._drop()  # from within a step that makes two
        now = _now()
        taken = (now - self._ended) * 1e-9
        self._ended = now
        row.time = _clock()
        numbers[STEP_TIME] = taken
        row.present |= there
        rows = self._rows
        if row.complete and not rows.waiting:
            rows.send(row)
        else:
            rows.finish(row)
        capture = self._capture
        gaps = self._budget.note(taken, self._spent + capture.spent + _now() - began, self._measured, self._kind)
        if gaps:
            self._plain = None
            for gap in gaps:
                self._say(gap.kind, gap.message, gap.every)
        self._spent = capture.spent = self._measured = 0
        self._release(running)

    def _can_be_plain(self, seen: Seen) -> bool:
        return (
            len(self.stepping) == 1
            and self.row is None
            and self._ended > 0
            and not seen.cuda
            and not self._orders.open
            and not self._overlay.in_force
            and self._budget.rows_every == 1
            and self.inquiry is None
        )

    def ask(self, identity: str) -> None:
        """Somebody wants to know where the numbers of the next whole round come from: it goes the long way."""
        super().ask(identity)
        self._plain = None

    def forget(self) -> None:
        """In the child of a fork: nothing of the parent's round is ours."""
        super().forget()
        self._plain = self._short = None
