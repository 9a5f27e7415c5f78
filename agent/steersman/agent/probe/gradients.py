"""What is read of the gradients that a step will use, and of what it made of them."""

from __future__ import annotations

import time
from typing import Any, Callable, List, Optional, Sequence

import torch

from .budget import Budget
from .capture import Capture
from .gathered import Clip, Gathered, before_clipping
from .orders import Orders
from .origin import summed
from .overlay import Overlay
from .provenance import Inquiry
from .ring import HostRing, Number
from .rounds import DIRECTION, NORM, Rounds
from .rows import DIRECTION_PARTS, GRAD_NORM, PROMISE_PARTS, Row, Rows
from .seen import Seen

_now = time.perf_counter_ns
# What torch.no_grad calls; as a context manager it takes longer than most of what is done within it.
_is_grad_enabled, _set_grad_enabled = torch.is_grad_enabled, torch._C._set_grad_enabled


class Gradients(Rounds):
    """Reads the norm of the gradients and, every so many steps, their direction, as the budget allows.

    Args:
        capture: what the patched functions saw.
        rows: where rows go.
        ring: where values are copied to.
        overlay: what is laid on.
        orders: what is asked for.
        budget: what the probe may cost.
        sample_every: steps between two samples of the direction.
        say: takes (kind, message, count).
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
        say: Callable[[str, str, int], None],
    ) -> None:
        super().__init__(capture, rows, ring, overlay, orders, budget, say)
        self._sample_every = sample_every
        self._measured = 0
        self._cut = False

    def _look(self, seen: Seen, optimizer: Any, gathered: Optional[Gathered]) -> None:
        """Read the gradients that the step will use, without waiting for them."""
        if self.step == self.torn:
            return
        began = _now()
        budget, row = self._budget, self.row
        clips = gathered.clips if gathered is not None else ()
        if gathered is not None and gathered.cut:
            self._note_cut(row)
        wanted = row is not None and self._is_turn(budget.norm_every)
        norm = seen.norm
        if row is not None and (wanted or clips or self._covered):
            self._take_norm(seen, optimizer, row, clips, wanted)
        elif self.inquiry is not None and (inquiry := self._inquired()) is not None:
            inquiry.norm(f"not taken with this sample: to keep within the budget it is every {budget.norm_every} steps")
        elif row is not None and len(self.stepping) > 1:
            self._lose_norm(row)  # and one that clips in this round would give a part of it
        every = budget.norm_every * self._sample_every
        origins = gathered.origins if gathered is not None else ()
        if seen.direction.watched or origins or seen.count % every == every - 1:
            self._sample(seen, optimizer, row, every, gathered)
        norm.flat = None
        self._measured += _now() - began

    def _take_norm(self, seen: Seen, optimizer: Any, row: Row, clips: Sequence[Clip], wanted: bool) -> None:
        """The norm of the gradients before they were clipped, each of a round's once."""
        scale = optimizer.__dict__.get("grad_scale")
        # Of a round of one step there is nothing to be counted twice.
        several = self._kept or len(self.stepping) > 1 or self.step <= self._first
        why, clip = "", None
        if not (several or clips):
            gradients = seen.norm.gradients(optimizer)
        else:
            before = frozenset(self._counted) if clips else frozenset()
            params = self._uncounted(optimizer)
            if clips:
                clip, why = before_clipping(clips)
                if clip is not None and clip.params & (before | self._covered):
                    clip, why = None, "the job clips gradients again after a step has used them"
                if clip is not None:
                    self._covered |= clip.params
            covered = self._covered
            gradients = [param.grad for param in params if id(param) not in covered]
        if why and not seen.shards.lose(optimizer, why, row, self._rows, self._say):
            self._lose_norm(row, why)
        if clip is not None:
            self._add_clip(seen, row, clip, whole=not gradients)
        # Of one that has none other ranks wait for the word that it adds nothing.
        if wanted and not why and (gradients or not seen.norm.gradients(optimizer)):
            norm = seen.norm_from(seen.place(optimizer.param_groups[0])) if self._kept else seen.norm
            found = norm.take(gradients, scale)
            if not norm.known:
                self._measure(seen, optimizer, gradients, scale, row, norm.why)
            if found is not None:
                self._add_norm(row, found)
            elif gradients and (several or clips) and not seen.shards.spread:
                self._lose_norm(row)
            self._kind |= NORM
        elif gradients:
            self._lose_norm(row)  # of some of them it is not taken with this sample
        if clip is not None and gradients:
            row.partly = True
            seen.norm.flat = None
        elif clip is not None and len(self.stepping) > 1:
            row.partly = True
        if self.inquiry is not None and (inquiry := self._inquired()) is not None:
            inquiry.norm(_norm_words(seen, inquiry, gradients, clip, scale, why))

    def _measure(
        self, seen: Seen, optimizer: Any, gradients: List[Any], scale: Optional[torch.Tensor], row: Row, why: str
    ) -> None:
        """There is no norm to be had: what of it can be told all the same, or why it cannot."""
        seen.shards.measure(optimizer, gradients, scale, row, self._rows, self._say)
        if why and not seen.shards.spread and seen.shards.apart is None:
            self._lose_norm(row, why)

    def _add_clip(self, seen: Seen, row: Row, clip: Clip, whole: bool) -> None:
        """What the job's own clipping computed."""
        if type(clip.norm) is not torch.Tensor:
            seen.shards.clipped(clip.norm, row, self._rows, self._say)
            return
        if whole and clip.most > 0 and not row.norms and not row.cut:
            column = self._rows.column("clipped_norm")
            row.widen(self._rows.width)
            row.clipped = (column, clip.most) if column >= 0 else None
        found = self._ring.bring(clip.norm)
        if found is None:
            self._lose_norm(row)
        else:
            self._add_norm(row, found)

    def _add_norm(self, row: Row, found: Number) -> None:
        if type(found) is float and not row.norms and not row.lost:
            row.norms = 1
            row.numbers[GRAD_NORM] = found
            row.present |= 1 << GRAD_NORM
            if row.clipped is not None:
                row.read_clipped()
                row.clipped = None
            return
        if row.norms:
            # What was left of some of them is not what was left of all.
            row.clipped = None
            row.unset(self._rows.known("clipped_norm"))
        row.add_norm(found)

    def _sample(self, seen: Seen, optimizer: Any, row: Optional[Row], every: int, gathered: Optional[Gathered]) -> None:
        """One step in ten is watched, and the gradients of the step after it are compared with what it changed.

        That step after it also tells from how much its loss was made, which the loss functions are asked beforehand.
        """
        direction, flat = seen.direction, seen.norm.flat
        due = seen.count % every == every - 1
        self._capture.counting = due
        if row is not None:
            if gathered is not None and gathered.origins:
                self._note_origins(row, gathered)
            if due and (found := seen.memory.read()) is not None:
                self._put(row, "device_memory", "bytes", found.now)
                self._put(row, "device_memory_peak", "bytes", found.peak)
        self._kind |= DIRECTION
        # What a round changed in several steps of one optimizer is not put together.
        several = self._kept or self._again > 0
        known = not several and optimizer.__dict__.get("grad_scale") is None and direction.look(optimizer)
        if not known or (direction.places and seen.shards.mixed):
            direction.forget()
            return
        training = _is_grad_enabled()
        try:
            _set_grad_enabled(False)
            if direction.watched:
                if row is not None and row.sums is None:
                    row.sums = direction.compare(optimizer, flat, seen.norm.square)
                    if row.sums is not None:
                        row.wait(row.sums.slot)
                        if row.sums.places:
                            row.parts = self._rows.part_columns(DIRECTION_PARTS, row.sums.places)
                        if row.sums.groups:
                            row.cosines = self._rows.cosine_columns(seen.number, row.sums.groups)
                else:
                    direction.forget()
            if due:
                direction.watch(optimizer, flat, seen.norm.square)
        finally:
            _set_grad_enabled(training)

    def _note_cut(self, row: Optional[Row]) -> None:
        """The job clipped the values of its gradients, not all by one factor: they point elsewhere now."""
        if row is not None:
            row.cut = True
        if not self._cut:
            self._cut = True
            words = (
                "the job clips the values of its gradients, which turns them: hypergrad_cos and predicted_decrease are "
                "unknown where it does, and grad_norm is the norm of what the step used"
            )
            self._say("values_clipped", words, 1)

    def _note_origins(self, row: Row, gathered: Gathered) -> None:
        if len(gathered.origins) == gathered.calls:
            examples, targets = summed(gathered.origins)
            if examples is not None:
                self._put(row, "batch_size", "1", examples)
            if targets is not None:
                self._put(row, "targets", "1", targets)

    def _put(self, row: Row, name: str, unit: str, value: float) -> None:
        column = self._rows.column(name, unit)
        if column >= 0:
            row.set(column, value)

    def _after_sample(self, seen: Seen, row: Optional[Row]) -> None:
        began = _now()
        training = _is_grad_enabled()
        try:
            _set_grad_enabled(False)
            # What is promised by the steps of a part is no part of it whose whole anybody could tell.
            whole = seen.shards.apart is None
            gain = seen.direction.after(whole and row is not None and row.gain is None)
        finally:
            _set_grad_enabled(training)
        if gain is not None and row is not None:
            row.gain = gain
            row.wait(gain.slot)
            if gain.places:
                row.promised = self._rows.part_columns(PROMISE_PARTS, gain.places)
        self._measured += _now() - began


def _norm_words(
    seen: Seen,
    inquiry: Inquiry,
    gradients: List[torch.Tensor],
    clip: Optional[Clip],
    scale: Optional[torch.Tensor],
    why: str,
) -> str:
    if why:
        return f"unknown: {why}"
    if clip is not None and type(clip.norm) is torch.Tensor:
        others = f", and the probe's own over {len(gradients)} gradients that were not clipped" if gradients else ""
        return inquiry.clip_words(clip.most) + others
    if not gradients:
        return "unknown: there were no gradients"
    if seen.shards.apart is not None:
        return f"unknown: {seen.shards.apart}"
    if clip is not None or seen.shards.spread:
        return "each rank sends what it holds of the gradients, and the daemon puts the norm together"
    if not seen.norm.known:
        return f"unknown: {seen.norm.why}" if seen.norm.why else "unknown: the gradients here are not the job's"
    undone = ", with GradScaler's scale undone" if scale is not None else ""
    return f"the probe's own, over the {len(gradients)} gradients that the step was about to use{undone}"
