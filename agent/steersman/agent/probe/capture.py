"""What the patched functions see between two steps: losses from backward, norms from the job's own clip, validation."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Dict, FrozenSet, Optional, Sequence, Set

import torch

from .gathered import Clip, Gathered, Validation
from .graph import DIVIDING, descends, divided_by
from .origin import mark, origin, origin_of
from .placement import Share, share_of
from .ring import HostRing, peek, read

if TYPE_CHECKING:
    from .provenance import Inquiry

_thread = threading.get_ident
_MOST_SCALED, _MOST_THREADS = 64, 256
_MOST_APART = 16  # losses on an accelerator that are brought one by one; further ones are added up there


class Capture:
    """Takes what the patched functions see and hands it out at the step.

    Args:
        ring: brings scalars to the host.

    Attributes:
        threads: what each thread gathered since its last step; one of its own, so that loops in several threads do not
            meet.
        validated: whether a validation loss waits for a row.
        spent: nanoseconds spent here that nobody has taken note of.
        counting: whether this round's losses are asked from what they were made.
        asked: who wants to know where this round's numbers come from.
    """

    def __init__(self, ring: HostRing) -> None:
        self._ring = ring
        self._found: Dict[str, Validation] = {}
        self._logged: Dict[str, Validation] = {}
        self._logs = False
        self._callers: Set[int] = set()
        self.threads: Dict[int, Gathered] = {}
        self.validated = False
        self.spent = 0
        self.counting = False
        self.asked: Optional[Inquiry] = None

    def scaled(self, loss: Any, output: Any, scale: Any) -> None:
        """GradScaler.scale was called: what backward will see is not the loss."""
        if output is loss:
            return
        mine = self._mine()
        losses, outputs = (loss, output) if isinstance(loss, (list, tuple)) else ((loss,), (output,))
        pairs = zip(losses, outputs)
        scalars = [(two, one) for one, two in pairs if type(one) is type(two) is torch.Tensor and one.dim() == 0]
        mine.scaled = (*mine.scaled, *scalars)[:_MOST_SCALED]
        mine.scale = scale

    def _mine(self) -> Gathered:
        me = _thread()
        mine = self.threads.get(me)
        if mine is None:
            self._make_room()
            mine = self.threads[me] = Gathered()
        return mine

    def _make_room(self) -> None:
        if len(self.threads) >= _MOST_THREADS:
            # Threads that never step, or are gone.
            self.threads.clear()
            self._callers.clear()

    def backward(self, tensors: Any, with_gradient: bool) -> None:
        """Backward was called on these tensors."""
        threads, me = self.threads, _thread()
        loss = threads.get(me)
        if loss is None:
            if threads:
                self._make_room()
            loss = threads[me] = Gathered()
            if not with_gradient and type(tensors) is torch.Tensor and tensors.is_cpu and tensors.numel() == 1:
                # What most rounds are: one loss, in host memory.
                number = read(tensors)
                loss.calls = 1
                if number is not None:
                    loss.total = number
                    loss.scalars = 1
                    loss.plain = True
                    # Asked for now: once backward has run, the graph no longer shows by what it was divided last.
                    node = tensors.grad_fn
                    if node is not None and type(node).__name__ in DIVIDING:
                        loss.divisor = divided_by(node)
                return
        loss.undo = (loss.calls, loss.scalars, loss.total, loss.drift, loss.squares)
        loss.plain = False
        if loss.clips:
            # Of gradients that may change now.
            loss.clips = tuple(clip._replace(norm=None, most=0.0, stale=True) for clip in loss.clips)
        loss.calls += 1
        if with_gradient:
            return
        if isinstance(tensors, torch.Tensor):
            self._add(loss, tensors)
        elif isinstance(tensors, (list, tuple)) and all(
            type(one) is torch.Tensor and one.numel() == 1 for one in tensors
        ):
            # Several in one call are differentiated as their sum.
            for one in tensors:
                self._add(loss, one)

    def _add(self, loss: Gathered, tensor: Any) -> None:
        """One loss that backward was called on."""
        if type(tensor) is not torch.Tensor or tensor.numel() != 1:
            return
        shown, scale = tensor.grad_fn, None
        if loss.scaled:
            for output, unscaled in loss.scaled:
                if output is tensor:
                    tensor = unscaled
                    shown = unscaled.grad_fn
                    break
            else:
                if descends(shown, [output.grad_fn for output, _ in loss.scaled]):
                    scale = loss.scale
        if tensor.is_cpu:
            number = peek(tensor)
            if number is not None and scale is not None:
                by = peek(scale)
                number = number / by if by else None
            if number is None:
                return
            if loss.scalars:
                if loss.scalars == 1:
                    loss.first = loss.total
                off = number - loss.first
                loss.drift += off
                loss.squares += off * off
            loss.total += number
        else:
            value = tensor.detach()
            if scale is not None:
                value = value / scale
            if value.dim():
                value = value.reshape(())
            if not loss.slots and not loss.lost:
                loss.bring(self._ring, value)
            elif loss.rest is None and len(loss.slots) < _MOST_APART and (slot := self._ring.put(value)):
                loss.slots += (slot,)
            else:
                loss.rest = value.clone() if loss.rest is None else loss.rest + value
        loss.scalars += 1
        divisor = divided_by(shown) if shown is not None else None
        if loss.scalars == 1:
            loss.divisor = divisor
        elif divisor != loss.divisor:
            loss.divisor = None

    def made(self, function: str, value: Any, args: Sequence[Any], kwargs: Dict[str, Any]) -> None:
        """A loss function has computed this from these, in a round in which somebody wants to know."""
        if type(value) is torch.Tensor:
            mark(value, origin(function, args, kwargs, "" if self.asked is None else self.asked.place()))

    def count(self, tensors: Any) -> None:
        """The backward that was just noted: from what its loss was made."""
        mine = self.threads.get(_thread())
        if mine is not None:
            made = origin_of(tensors)
            mine.origins = (*mine.origins, made)
            if self.asked is not None:
                self.asked.backward(made)

    def failed(self) -> None:
        """That backward raised: it is no call, and its tensors no loss."""
        loss = self.threads.get(_thread())
        if loss is None:
            return
        if loss.slots or loss.rest is not None:
            loss.lost = True  # it is part of a sum on the device by now
        loss.plain = False
        loss.calls, loss.scalars, loss.total, loss.drift, loss.squares = loss.undo
        loss.origins = loss.origins[:-1]

    def take(self) -> Optional[Gathered]:
        """What this thread gathered; a new round begins for it. None: nothing.

        A thread that never called backward gets what the only other one gathered: backward may run in a thread of its
        own, and an optimizer within backward is stepped by autograd's.
        """
        threads, me = self.threads, _thread()
        mine = threads.pop(me, None)
        if mine is None:
            if len(threads) != 1 or me in self._callers:
                return None
            try:
                mine = threads.popitem()[1]
            except KeyError:
                return None  # its own thread was quicker
        elif mine.calls and me not in self._callers:
            self._callers.add(me)
        if mine.scalars > 1:
            mine.close(self._ring)
        return mine

    def norm(self, total: Any, norm_type: float, tensors: int = -1) -> None:
        """Somebody computed a norm of so many gradients; kept in case it is used for clipping."""
        mine = self._mine()
        mine.norm = total if norm_type == 2.0 and type(total) is torch.Tensor else None
        share = share_of(total) if mine.norm is None and norm_type == 2.0 else None
        mine.share = None if share is None else (share, tensors)

    def clipped(self, total: Any, params: FrozenSet[int], most: float) -> None:
        """The job clips the gradients of these parameters, whose norm this is, to that."""
        mine = self._mine()
        if self.asked is not None:
            self.asked.clipped()
        clip = Clip(None, params, 0.0)
        if total is mine.norm and type(total) is torch.Tensor and total.dim() == 0:
            clip = Clip(total.detach(), params, most)
        elif mine.share is not None and mine.share[1] in (-1, len(params)):
            # Whatever the job made of it since: mostly it asked the other ranks, which knows no more than they send.
            clip = Clip(mine.share[0], params, 0.0)
        mine.norm = mine.share = None
        known = peek(total) if clip.norm is None and type(total) is torch.Tensor else None
        if not params or (known is not None and known + 1e-6 <= most):
            return  # which leaves them as they are
        mine.clips = (*(one for one in mine.clips if not (one.stale and one.params <= params)), clip)
        mine.plain = False

    def cut(self) -> None:
        """The job clips the values of gradients: where they point is then no longer where the loss falls."""
        mine = self._mine()
        mine.cut = True
        mine.plain = False

    def unscale(self, scale: Any) -> None:
        """The norms by which the job clipped were those of gradients that still were multiplied by this."""
        mine = self._mine()
        mine.clips = tuple(clip._replace(norm=_over(clip.norm, scale), most=0.0) for clip in mine.clips)

    def validation(self, value: Any, function: str = "", examples: Optional[int] = None) -> None:
        """A loss function ran without grad, over so many examples."""
        if self._logs or type(value) is not torch.Tensor or value.dim() or not value.is_floating_point():
            return
        number = peek(value) if value.is_cpu else value.detach().float()
        if number is not None:
            self._found.setdefault("val_loss", Validation()).add(number, examples)
            self.validated = True
            if self.asked is not None:
                self.asked.validated(function)

    @property
    def found(self) -> bool:
        """Whether a loss without grad waits that nobody logged: perhaps one that training computes beside its own."""
        return bool(self._found)

    def log(self, name: str, value: Any) -> None:
        """The script's own validation loss: the last one wins, and those found are no longer looked at."""
        self._logs = self.validated = True
        self._found.clear()
        number = peek(value)
        entry = Validation()
        entry.add(value.detach().clone() if number is None else number)
        self._logged[name] = entry
        if self.asked is not None:
            self.asked.logged(name)

    def take_validation(self) -> Dict[str, Validation]:
        """What came since the last step, by name."""
        self.validated = False
        taken = dict(self._found)
        taken.update(self._logged)
        self._found, self._logged = {}, {}
        return taken

    def forget(self) -> None:
        """Drop what was gathered, as after a fork."""
        self.threads = {}
        self._callers = set()
        self._found.clear()
        self._logged.clear()
        self.validated = self.counting = False
        self.asked = None


def _over(norm: Any, scale: Any) -> Any:
    if norm is None:
        return None
    return norm.over(scale) if isinstance(norm, Share) else norm / scale
