"""Rounds: which optimizers step in one, and the row that it gives."""

from __future__ import annotations

import time
from typing import Any, Callable, FrozenSet, Iterable, List, Optional, Set, Tuple

import torch

from .budget import Budget
from .capture import Capture
from .gathered import Gathered
from .orders import Orders
from .overlay import Overlay
from .provenance import Answer, Inquiry
from .ring import HostRing, Slot, peek
from .rows import CALLS, Row, Rows
from .seen import Seen
from .sharded import PREFIX, UNKNOWN

# What was done on a step, as bits: steps on which the same was done have costs that can be compared.
ROW, NORM, DIRECTION = 1, 2, 4
_MOST_ASKING = 16
_MOST_AGAIN = 256
_MOST_STEPS = 1 << 53
_GOLDEN, _WORD = 0x9E3779B1, 0xFFFFFFFF  # 2^32 over the golden ratio


class Rounds:
    """Gathers one row a round.

    A round is what happens between two rounds of backward calls; each gives one row. With one optimizer a round is a
    step. With several, the row is kept open until the next backward, and so it is with one that steps more than once
    in a round, as where a library hides all of its groups but one from it and steps it for each.

    That is known once it has been seen: where it is first seen after the very first round, the row of that round has
    gone out already, and its further steps are in no row. Where no backward is ever seen, as with torch.autograd.grad,
    each step is a round, and again so after 256 steps on end of one optimizer without one.

    Args:
        capture: what the patched functions saw.
        rows: where rows go.
        ring: where values are copied to.
        overlay: what is laid on.
        orders: what is asked for.
        budget: what the probe may cost.
        say: takes (kind, message, count).

    Attributes:
        stepping: the optimizers that step, in the order of their numbers.
        met: how many there have been, those included that are gone.
        step: number of the open or last round; -1 before the first.
        row: the row of the open round.
        torn: number of the last round whose beginning was not seen, -1 without one: its loss, norm and validation are
            unknown.
        inquiry: somebody wants to know where the numbers of a round come from.
        backwards: how many backward calls are being made at this moment.
    """

    def __init__(
        self,
        capture: Capture,
        rows: Rows,
        ring: HostRing,
        overlay: Overlay,
        orders: Orders,
        budget: Budget,
        say: Callable[[str, str, int], None],
    ) -> None:
        self._capture = capture
        self._rows = rows
        self._ring = ring
        self._overlay = overlay
        self._orders = orders
        self._budget = budget
        self._say = say
        self._members: Set[int] = set()
        self._kind = 0
        self._summed = False
        self._joined = False
        self._first = 0
        self._kept = False  # whether the one optimizer's rounds are kept open, for it steps several times in them
        self._heard = False  # whether a round has had a backward
        self._opened = -1  # the last round that was opened here, and not the plain way: that has had one
        self._afresh = False  # what a step was about to use was dropped: the next step begins a round
        self._again = 0
        self._counted: Set[int] = set()  # parameters whose gradients this round has used
        self._covered: FrozenSet[int] = frozenset()  # those that the norm has in it from the job's own clipping
        self._lost_for: Set[str] = set()
        self._validated_at = -_MOST_STEPS
        self._every_round = 0
        self._every_round_said = False
        self.met = 0
        self.torn = -1
        self.backwards = 0
        self.stepping: List[Seen] = []
        self.step = -1
        self.row: Optional[Row] = None
        self.inquiry: Optional[Inquiry] = None

    def meet(self, seen: Seen, optimizer: Any) -> None:
        """An optimizer that steps by itself, or was shown to us: it gets its number and columns.

        A script that makes a new optimizer for each episode has one series: the number of one that is gone is free.
        """
        self.met += 1
        if self.step < 0:
            self._count_on(optimizer)
            # Every tenth step is then the same one on all ranks.
            seen.count = self._first
        for number, other in enumerate(self.stepping):
            if other.ref() is None:
                seen.number = number
                self.stepping[number] = seen
                self._members.discard(id(other))
                seen.columns = self._rows.lr_columns(number, len(optimizer.param_groups))
                return
        seen.number = len(self.stepping)
        self.stepping.append(seen)
        if self._joined and seen.number:
            for one in self.stepping:
                one.shards.mixed = True
        if len(self.stepping) == 2 and self.step >= 0:
            self._members = {id(self.stepping[0])}  # who made the last round: alone it was not written down
        seen.columns = self._rows.lr_columns(seen.number, len(optimizer.param_groups))

    def _count_on(self, optimizer: Any) -> None:
        """Go on from where a job is that is under way or was resumed, by its optimizer's own count in host memory.

        All ranks of a job have the same there, whichever step each of them was entered at.
        """
        states = [state for state in getattr(optimizer, "state", {}).values() if isinstance(state, dict)]
        counts = [peek(state["step"]) for state in states if "step" in state]
        known = [count for count in counts if count is not None and 0 < count < _MOST_STEPS]
        if known:
            self._first = int(max(known))
            self.step = self._opened = self._first - 1
            if self._joined:
                self.torn = self._first

    def _goes_on(self, seen: Seen, gathered: Optional[Gathered]) -> bool:
        """Whether this step belongs to the round of the step before it: there was no backward between the two."""
        if gathered is not None and gathered.calls:
            self._heard = True
            return False
        if self._afresh or not (self._heard or self.step > self._opened):
            return False
        if any(other.calls for other in list(self._capture.threads.values())):
            return False  # whose backward that was is not known
        if len(self.stepping) > 1 and id(seen) not in self._members:
            return bool(self._members)
        self._again += 1
        if self._again > _MOST_AGAIN:
            self._heard = self._kept = False
            self._opened = self.step
            return False
        self._kept = len(self.stepping) == 1
        return True

    def _begin_round(self, seen: Seen, gathered: Optional[Gathered]) -> None:
        same = self.backwards > 0 and self.row is not None and self._members
        if same or (self._members and id(seen) not in self._members and not (gathered and gathered.calls)):
            self._members.add(id(seen))
            return
        if self.row is not None:
            self.end_round()
        if len(self._members) != 1 or id(seen) not in self._members:
            self._members = {id(seen)}
        self._open_round()

    def _open_round(self) -> None:
        self.step = self._opened = step = self.step + 1
        self._kind = self._again = 0
        self._afresh = False
        self._counted = set()
        self._covered = frozenset()
        ordered = self._orders.open
        if ordered:
            self._orders.begin(step)
            ordered = self._orders.open
        if self._overlay.in_force:
            self._overlay.advance(self._first_lr())
        if ordered or self.inquiry is not None or self._is_turn(self._budget.rows_every):
            self.row = Row(step, self._rows.width)
            self._kind = ROW

    def _is_turn(self, every: int) -> bool:
        """Whether what is done once in so many rounds is done in this one.

        Of several optimizers that step in turn each n-th round would be the same one's again and again. Multiples of
        the golden ratio fall evenly among all of them, whatever their turns are, and in all ranks alike (Knuth, The Art
        of Computer Programming 3, 6.4).
        """
        if len(self.stepping) < 2 or every == 1:
            return self.step % every == 0
        return (self.step * _GOLDEN & _WORD) * every <= _WORD

    def _first_lr(self) -> Any:
        optimizer = self.stepping[0].ref()
        return None if optimizer is None else self._overlay.own_of(optimizer.param_groups[0])

    def _note_loss(self, loss: Gathered) -> None:
        if self.step == self.torn:
            self._rows.abandon(loss)
            return
        if self.inquiry is not None and (inquiry := self._inquired()) is not None:
            inquiry.loss(loss)
        if loss.summed and not self._summed:
            self._summed = True
            of = f"over its {loss.calls} backward calls"
            if loss.calls != loss.scalars:
                of = f"of the {loss.scalars} losses that backward was called on"
            words = f"the loss of a step is the sum {of}: nothing shows that each was divided by their number"
            self._say("loss_is_a_sum", words, 1)
        row = self.row
        if row is not None and not row.present >> CALLS & 1:
            row.add_loss(loss)
            if loss.scalars > 1 and not loss.summed and (column := self._rows.column("loss_spread")) >= 0:
                if row.loss is None:
                    row.set_spread(column, loss)
                else:
                    row.spread = column
            return
        self._rows.abandon(loss)

    def _drop(self) -> None:
        """What this thread gathered since the last step belongs to no round."""
        gathered = self._capture.take()
        if gathered is not None:
            self._rows.abandon(gathered)

    def _read_lrs(self, seen: Seen, optimizer: Any, row: Row, laid: bool) -> None:
        there = self._columns(seen, optimizer.param_groups)
        if len(row.numbers) < self._rows.width:
            row.widen(self._rows.width)
        for columns, group in there:
            lr = group.get("lr")
            if type(lr) is float:
                row.numbers[columns[0]] = lr
                row.present |= 1 << columns[0]
            else:
                self._note(row, columns[0], lr)
            if laid:
                self._note(row, columns[1], self._overlay.own_of(group))
            if self._orders.open and columns not in row.lr_columns:
                row.lr_columns += (columns,)

    def _columns(self, seen: Seen, groups: List[Any]) -> Iterable[Tuple[Tuple[int, int], Any]]:
        """The groups that a step was made with, each with its columns: told by its place, or by its first parameter."""
        if not self._kept:
            if len(seen.columns) < len(groups):
                seen.columns = self._rows.lr_columns(seen.number, len(groups))
            return zip(seen.columns, groups)
        places = [seen.place(group) for group in groups]
        if len(seen.columns) < len(seen.places):
            seen.columns = self._rows.lr_columns(seen.number, len(seen.places))
        return [(seen.columns[at], group) for at, group in zip(places, groups) if at < len(seen.columns)]

    def _uncounted(self, optimizer: Any) -> List[Any]:
        """The parameters whose gradients a step is about to use, and none before it in this round."""
        counted, found = self._counted, []
        for group in optimizer.param_groups:
            for param in group["params"]:
                if param.grad is not None and id(param) not in counted:
                    counted.add(id(param))
                    found.append(param)
        return found

    def _lose_norm(self, row: Row, why: str = "") -> None:
        """The norm of a round is unknown; each reason is said once."""
        row.lose_norm()
        row.unset(self._rows.known("clipped_norm"))
        column = self._rows.known(PREFIX + UNKNOWN)
        if column >= 0:
            row.set(column, 1.0)
        if why and why not in self._lost_for:
            self._lost_for.add(why)
            self._say("norm_unknown", f"the gradient norm is not known: {why}", 1)

    def _note(self, row: Row, column: int, lr: Any) -> None:
        number = peek(lr)
        if number is not None:
            row.set(column, number)
        elif isinstance(lr, torch.Tensor) and lr.numel() == 1 and not lr.is_cpu:
            slot = self._ring.put(lr.detach().reshape(()))
            if slot is not None:
                row.expect(column, slot)

    def end_round(self) -> None:
        """The open round is over: its row goes out."""
        row, self.row = self.row, None
        if row is None:
            return
        inquiry = None if self.inquiry is None else self._inquired()
        if not row.time:
            # Its step ended with an exception.
            if inquiry is not None:
                inquiry.again()
            row.discarded = True
            row.wait(None)
            self._rows.finish(row)
            return
        if self._capture.validated and not row.held:
            self._validate(row)
        if not self._covered <= self._counted:
            self._lose_norm(row, "the job clips by a norm that is also that of gradients which the step does not use")
        if self._orders.open:
            row.due = self._orders.made()
            row.awaited = bool(row.due)
        if inquiry is not None:
            self.inquiry = self._capture.asked = None
            row.answer = Answer(inquiry.identities, inquiry.sources(self._rows.known))
            row.awaited = True
        self._rows.finish(row)

    def ask(self, identity: str) -> None:
        """Somebody wants to know where the numbers of the next whole round come from."""
        if self.inquiry is None:
            self.inquiry = Inquiry(identity)
        elif len(self.inquiry.identities) < _MOST_ASKING:
            self.inquiry.identities.append(identity)

    def _inquired(self) -> Optional[Inquiry]:
        """Who wants to know of the open round."""
        inquiry = self.inquiry
        return inquiry if inquiry is not None and inquiry.open and self.step > inquiry.since else None

    def _begin_inquiry(self, inquiry: Inquiry) -> None:
        """From here on what happens is looked at: the next round is whole."""
        inquiry.open, inquiry.since = True, self.step
        self._capture.asked, self._capture.counting = inquiry, True

    def _validate(self, row: Row) -> None:
        if row.step == self.torn or (self._capture.found and self._is_of_training(row.step)):
            self._capture.take_validation()
            return
        for name, found in self._capture.take_validation().items():
            column = self._rows.column(name)
            if column < 0:
                continue
            summed, count = found.sum()
            total = self._ring.bring(summed.reshape(())) if isinstance(summed, torch.Tensor) else summed
            if isinstance(total, Slot):
                row.expect(column, total, count)
            elif total is not None:
                row.set(column, total / count)

    def _is_of_training(self, step: int) -> bool:
        """Whether losses without grad come in every round, as a teacher's or a target network's do in training.

        A validation of every step looks the same: both are unknown from the second round on in which they come.
        """
        # Of networks that step in turn, one may have them; what came in rounds without a row is in the next.
        every, several = self._budget.rows_every, len(self.stepping)
        near = every if several < 2 else 2 if every == 1 else 2 * every + min(several, 16)
        again, self._validated_at = step - self._validated_at <= near, step
        self._every_round = self._every_round + 1 if again else 0
        if self._every_round == 2 and not self._every_round_said:
            self._every_round_said = True
            words = (
                "losses are computed without grad in every round: nothing tells a validation of every step from what "
                "training computes beside its loss, so val_loss is unknown; log(val_loss=...) says it"
            )
            self._say("val_loss_unknown", words, 1)
        return again

    def finish(self) -> None:
        """The job ends: the open row goes out, and one more for validation losses that came after the last step."""
        self.end_round()
        if self._capture.validated and self.step >= 0:
            row = Row(self.step, self._rows.width)
            row.time = time.time()
            if not self._every_round:
                self._validated_at = -_MOST_STEPS  # the last validation may come right after another
            self._validate(row)
            self._rows.finish(row)
