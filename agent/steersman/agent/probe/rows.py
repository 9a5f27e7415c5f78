"""Rows: opened at a step, completed when their values have arrived on the host, sent in order."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

from . import packet
from .channel import Channel
from .direction import Sums
from .gathered import Gathered
from .orders import Order
from .ring import Number, Slot

if TYPE_CHECKING:
    from .provenance import Answer

LOSS, GRAD_NORM, STEP_TIME, CALLS, COSINE, UPDATE, WEIGHT, DECREASE = range(8)
_FIXED = (
    ("loss", ""),
    ("grad_norm", ""),
    ("step_time", "s"),
    ("backward_calls", "1"),
    ("hypergrad_cos", "1"),
    ("update_norm", ""),
    ("weight_norm", ""),
    ("predicted_decrease", ""),
)
DIRECTION_PARTS = ("direction_dot", "direction_grad", "direction_update", "direction_weight")
"""What one rank holds of <g',du>, |g'|², |du|² and |w|², by `NAME/PLACEMENT`."""
PROMISE_PARTS = ("promise_dot", "promise_grad")
"""The same of <g,du> and |g|²."""
_ROW, _VERSION = packet.ROW, packet.VERSION
# Room for validation sets is kept free: a column each, of the 64 that a row may have.
_LAST_LR = 56

Layout = Tuple[int, int, Any, Any, int]
"""How rows are packed: columns, id of their schema, `pack`, `pack_into` behind the length, size in bytes without it."""


class Row:
    """One sample in the making. Numbers that are known stand in it; for the others there are slots to wait for.

    Most rows know all their numbers at once, so what else there can be stands on the class until it is needed.
    """

    time = 0.0
    present = 0
    norms = 0
    complete = True
    discarded = False
    held = False  # only waiting for whether another optimizer steps in its round
    loss: Optional[Gathered] = None
    sums: Optional[Sums] = None
    cosines: Sequence[int] = ()  # columns of the groups that the sums tell of, -1 where there is no room
    gain: Optional[Sums] = None
    parts: Sequence[int] = ()  # columns of the sums, where they are parts of the job's; none where there is no room
    promised: Sequence[int] = ()
    event: Any = None
    waits: List[Slot]
    late: Tuple[Tuple[int, Slot, int], ...] = ()
    late_norms: Tuple[Slot, ...] = ()
    lr_columns: Tuple[Tuple[int, int], ...] = ()
    awaited = False  # somebody wants to be told of it once it is sent
    due: Sequence[Tuple[Order, str]] = ()
    answer: Optional[Answer] = None
    spread = -1  # column of the spread of the losses, where they are still on their way
    clipped: Optional[Tuple[int, float]] = None  # column of the norm after clipping, and to what was clipped
    cut = False  # the values of its gradients were clipped, and nothing is said of where they point
    lost = False  # the norm of some of its gradients is unknown
    partly = False  # some of its gradients were clipped and some were not, or those of several optimizers were
    skipped: Optional[Slot] = None  # not zero: a scaler's step that was none

    def __init__(self, step: int, columns: int) -> None:
        self.step = step
        self.numbers = [0.0] * columns

    def set(self, column: int, value: float) -> None:
        """A number that is known now."""
        numbers = self.numbers
        if column >= len(numbers):
            numbers.extend([0.0] * (column + 1 - len(numbers)))
        numbers[column] = value
        self.present |= 1 << column

    def widen(self, columns: int) -> None:
        """Make room for columns that came up after the row was opened."""
        self.numbers.extend([0.0] * (columns - len(self.numbers)))

    def unset(self, column: int) -> None:
        """A number that turned out to be unknown."""
        if column >= 0:
            self.present &= ~(1 << column)

    def wait(self, slot: Optional[Slot]) -> None:
        """Not complete before this has arrived and been read; None: before something at hand has been read."""
        if self.complete:
            self.complete = False
            self.waits = []
        if slot is not None:
            self.waits.append(slot)

    def add_loss(self, loss: Gathered) -> None:
        """The loss of this row's backward calls."""
        self.numbers[CALLS] = loss.calls
        if loss.slots:
            self.present |= 1 << CALLS
            self.loss = loss
            for slot in loss.slots:
                self.wait(slot)
        elif loss.scalars and not loss.lost:
            self.numbers[LOSS] = loss.total
            self.present |= 1 << CALLS | 1 << LOSS
        else:
            self.present |= 1 << CALLS

    def set_spread(self, column: int, loss: Gathered) -> None:
        """How far the losses of the backward calls lie apart, where that is known."""
        spread = loss.spread()
        if spread is not None:
            self.set(column, spread)

    def add_norm(self, norm: Number) -> None:
        """The norm of one optimizer's gradients."""
        self.norms += 1
        if isinstance(norm, Slot):
            self.late_norms += (norm,)
            self.wait(norm)
        else:
            self._join_norm(norm)

    def lose_norm(self) -> None:
        """The norm of some of its gradients is unknown, and so is that of all."""
        self.lost = True
        self.clipped = None
        self.present &= ~(1 << GRAD_NORM)

    def _join_norm(self, norm: float) -> None:
        if self.lost:
            return
        before = self.numbers[GRAD_NORM] if self.present >> GRAD_NORM & 1 else 0.0
        self.set(GRAD_NORM, math.hypot(norm, before) if before else norm)

    def expect(self, column: int, slot: Slot, calls: int = 1) -> None:
        """A number that is on its way, to be divided by `calls`."""
        self.late += ((column, slot, calls),)
        self.wait(slot)

    def arrived(self) -> bool:
        """Whether every number is on the host."""
        if self.event is not None and not self.event.query():
            return False
        waits = self.waits
        while waits and waits[-1].arrived():
            waits.pop()
        return not waits

    def read(self) -> None:
        """Turn what arrived into numbers and give the slots back."""
        loss = self.loss
        if loss is not None:
            if not loss.lost:
                self.set(LOSS, loss.value())
                if self.spread >= 0:
                    self.set_spread(self.spread, loss)
            for slot in loss.slots:
                slot.free()
        for slot in self.late_norms:
            self._join_norm(float(slot.values[0]))
            slot.free()
        if self.clipped is not None:
            self.read_clipped()
        if self.sums is not None:
            self._read_sums(self.sums)
        if self.gain is not None:
            self._read_gain(self.gain)
        for column, slot, calls in self.late:
            self.set(column, float(slot.values[0]) / calls)
            slot.free()

    def read_clipped(self) -> None:
        """The norm after clipping follows from the one before, as torch computes it."""
        column, most = self.clipped or (-1, 0.0)
        norm = self.numbers[GRAD_NORM]
        if self.present >> GRAD_NORM & 1:
            self.set(column, norm * min(1.0, most / (norm + 1e-6)) if norm == norm else norm)

    def _read_sums(self, sums: Sums) -> None:
        found = sums.read()
        if len(found) < 4:
            return
        if sums.places:
            # Where values were clipped only the lengths are told.
            self._set_parts(self.parts, found, sums.shares, "0011" if self.cut else "1111")
            return
        dot, gradient, update, weight = found[:4]
        if not self.cut:
            self._set_cosine(COSINE, dot, gradient, update)
            if self.cosines:
                for column, at in zip(self.cosines, range(4, len(found), 3)):
                    self._set_cosine(column, *found[at : at + 3])
        if math.isfinite(update):
            self.set(UPDATE, math.sqrt(update / sums.share))
        if math.isfinite(weight):
            self.set(WEIGHT, math.sqrt(weight / sums.share))

    def _set_cosine(self, column: int, dot: float, gradient: float, update: float) -> None:
        size = math.sqrt(gradient) * math.sqrt(update) if gradient >= 0 and update >= 0 else math.nan
        if column >= 0 and size > 0 and math.isfinite(size) and math.isfinite(dot):
            self.set(column, max(-1.0, min(1.0, -dot / size)))

    def _set_parts(self, columns: Sequence[int], sums: Sequence[float], shares: Sequence[float], told: str) -> None:
        """Set what is told of a rank's part: of each placement as many sums as `told` is long, those with a 1 there."""
        if all(map(math.isfinite, sums)):
            for at, (column, value) in enumerate(zip(columns, sums)):
                if told[at % len(told)] == "1":
                    self.set(column, value / shares[at // len(told)])

    def _read_gain(self, gain: Sums) -> None:
        found = gain.read()
        if len(found) < 2 or self.cut or self.lost or self.partly:
            return
        if gain.places:
            # Of pieces it is not known how much a clip took from all.
            self._set_parts(self.promised, found, gain.shares, "11" if min(gain.shares) == 1.0 else "10")
            return
        promised = found[0] / gain.share
        # The job may have clipped: the loss falls along the gradient as it was, not as it was cut.
        cut = math.sqrt(found[1]) if found[1] > 0 else 0.0
        norm = self.numbers[GRAD_NORM] if self.norms == 1 else math.nan
        if gain.share == 1.0 and cut > 0 and math.isfinite(norm):
            promised *= norm / cut
        if math.isfinite(promised):
            self.set(DECREASE, -promised)


class Rows:
    """The columns of this process, and the rows that wait for their values.

    Args:
        channel: where rows go.
        report: takes a completed row of which somebody wants to be told.
        say: takes (kind, message, count).
    """

    def __init__(self, channel: Channel, report: Callable[[Row], None], say: Callable[[str, str, int], None]) -> None:
        self._channel = channel
        self._report = report
        self._say = say
        self._columns: List[Tuple[str, str]] = list(_FIXED)
        self._index: Dict[str, int] = {}
        self.width = len(_FIXED)
        """How many columns there are."""
        self._layout: Layout = (-1, -1, None, None, 0)
        self._pending: Deque[Row] = deque()
        self._left_out: Dict[int, int] = {}

    def lr_columns(self, optimizer: int, groups: int) -> List[Tuple[int, int]]:
        """The columns of an optimizer's groups, as (lr, own_lr); fewer than groups where a row has no more room."""
        found: List[Tuple[int, int]] = []
        for group in range(groups):
            name = str(group) if optimizer == 0 else f"{optimizer}.{group}"
            if "lr/" + name not in self._index and len(self._columns) + 2 > _LAST_LR:
                self._cut(optimizer, groups - group)
                break
            found.append((self.column("lr/" + name), self.column("own_lr/" + name)))
        return found

    def cosine_columns(self, optimizer: int, groups: Sequence[int]) -> List[int]:
        """The columns of groups, which have the names of their learning rates; -1 where a row has no more room."""
        prefix = "hypergrad_cos/" if optimizer == 0 else f"hypergrad_cos/{optimizer}."
        names = [f"{prefix}{group}" for group in groups]
        return [
            self.column(name, "1") if name in self._index or len(self._columns) < _LAST_LR else -1 for name in names
        ]

    def part_columns(self, names: Sequence[str], places: Sequence[str]) -> List[int]:
        """The columns of sums over what a rank holds, place by place; none where a row has no room for all."""
        wanted = [f"{name}/{place}" for place in places for name in names]
        new = [name for name in wanted if name not in self._index]
        return [self.column(name, "1") for name in wanted] if len(self._columns) + len(new) <= _LAST_LR else []

    def _cut(self, optimizer: int, groups: int) -> None:
        """The last so many groups of an optimizer have no column: said again where they have become twice as many."""
        if groups >= 2 * self._left_out.get(optimizer, 0):
            self._left_out[optimizer] = groups
            words = f"more parameter groups than a row has columns for: the last {groups} of optimizer {optimizer} have"
            self._say("columns_cut", f"{words} no learning rates in it", groups)

    def column(self, name: str, unit: str = "") -> int:
        """The column of this name, made where it is new; -1 where a row has no more room."""
        index = self._index.get(name)
        if index is None:
            if len(self._columns) >= packet.MAX_COLUMNS:
                return -1
            index = len(self._columns)
            self._columns.append((name, unit))
            self._index[name] = index
            self.width = index + 1
        return index

    def known(self, name: str) -> int:
        """The column of this name; -1 where there is none."""
        return self._index.get(name, -1)

    def finish(self, row: Row) -> None:
        """Nothing more will be added to this row."""
        if self._pending:
            self._pending.append(row)
            self.drain()
        elif row.complete:
            self.send(row)
        elif row.arrived():
            self._complete(row)
        else:
            self._pending.append(row)

    def abandon(self, loss: Gathered) -> None:
        """Take a loss that no row wants; its room may be used again only when the value has arrived."""
        if not loss.slots:
            return
        row = Row(-1, len(_FIXED))
        row.add_loss(loss)
        row.discarded = True
        self._pending.append(row)

    def drain(self) -> bool:
        """Send the rows whose values have arrived, in order; whether none is left."""
        pending = self._pending
        while pending:
            row = pending[0]
            if not row.complete and not row.arrived():
                return False
            pending.popleft()
            self._complete(row)
        return True

    def _complete(self, row: Row) -> None:
        if not row.complete:
            row.read()
        if row.skipped is not None:
            if row.skipped.values[0]:
                # Known too late to give its number to the next step: there is a hole, and it is said.
                row.discarded = True
                self._say("step_skipped", "GradScaler left a step out: a gradient was not finite", 1)
            row.skipped.free()
        if not row.discarded:
            self.send(row)

    @property
    def waiting(self) -> bool:
        """Whether rows wait for their values, behind which others have to wait."""
        return bool(self._pending)

    def send(self, row: Row) -> None:
        """Send a row that knows all its numbers, and behind which none waits."""
        layout = self._layout
        if layout[0] != self.width:
            layout = self._declare()
        columns, schema, pack, pack_into, size = layout
        numbers = row.numbers
        if len(numbers) != columns:
            row.widen(columns)
            numbers = numbers[:columns]
        channel = self._channel
        box = channel.straight
        if box is not None and (at := box.room(size)):
            head = (size, _ROW, _VERSION, schema, channel.next_seq, row.step, row.time, row.present)
            pack_into(box.memory, at, *head, *numbers)
            box.publish()
            channel.next_seq += 1
        else:
            message = pack(_ROW, _VERSION, schema, channel.next_seq, row.step, row.time, row.present, *numbers)
            channel.send_row(message, schema)
        if row.awaited:
            self._report(row)

    def _declare(self) -> Layout:
        columns = self._columns[: self.width]
        struct = packet.row_struct(len(columns))
        # One object, so that a thread that is just sending has all of the old one or all of the new one.
        # Declared first: what interrupts us in between must not leave rows whose columns nobody was told.
        behind_length = packet.row_struct(len(columns), "Q")
        layout = (len(columns), self._layout[1] + 1, struct.pack, behind_length.pack_into, struct.size)
        self._channel.declare(layout[1], packet.schema(layout[1], columns))
        self._layout = layout
        return layout

    def flush(self, seconds: float) -> None:
        """At the end of the job, and only there: wait a moment for the values that are still on their way."""
        deadline = time.monotonic() + seconds
        while not self.drain() and time.monotonic() < deadline:
            time.sleep(0.002)

    def forget(self) -> None:
        """Drop what waits, as after a fork."""
        self._pending.clear()
