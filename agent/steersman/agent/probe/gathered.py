"""What one thread gathers between two of its steps, and what comes of it once the numbers have arrived."""

from __future__ import annotations

import math
from typing import Any, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple

import torch

from .origin import Origin
from .placement import Share, joined
from .ring import HostRing, Slot


class Clip(NamedTuple):
    """One clip by the job: the norm before it, of which parameters' gradients, and to what (0: unknown)."""

    norm: Any  # a tensor, this rank's Share where the gradients lie over several, or None: no norm of ours
    params: FrozenSet[int]
    most: float
    stale: bool = False  # a backward followed, which may have made those gradients anew


class Gathered:
    """What one thread gathered since its last step: the losses of its backward calls, and by what norms it clipped.

    A loss in host memory is read where it stands, so that nothing the job does to it later matters. Of those on an
    accelerator the first few are copied and further ones are added up there. One call: its loss. Several: their sum,
    which is the mean of the undivided ones where each was visibly divided by their number.
    """

    # Most rounds have one call, so what else there can be stands on the class until it is needed.
    calls = 0
    scalars = 0
    total = 0.0
    slots: Tuple[Slot, ...] = ()
    rest: Optional[torch.Tensor] = None
    lost = False  # the ring was full: half a sum would be a number nobody asked for
    summed = False  # several calls, and nothing shows that each was divided by their number
    divisor: Optional[float] = None
    clips: Sequence[Clip] = ()  # of the gradients that the next step will use
    cut = False  # the job clipped the values of gradients
    norm: Optional[torch.Tensor] = None  # the last that was computed: for clipping, perhaps
    share: Optional[Tuple[Share, int]] = None  # the same of gradients that lie over several ranks, and of how many
    scaled: Sequence[Tuple[torch.Tensor, torch.Tensor]] = ()  # what a GradScaler made of losses, and these
    scale: Any = None
    first = 0.0  # of several in host memory, whose differences from it are summed up, and the squares of these
    drift = 0.0
    squares = 0.0
    undo: Tuple[int, int, float, float, float] = (0, 0, 0.0, 0.0, 0.0)
    origins: Sequence[Optional[Origin]] = ()  # of each call's loss, in the rounds in which somebody wants to know
    plain = False  # one loss in host memory, and nothing else

    def bring(self, ring: HostRing, value: torch.Tensor) -> None:
        """Start copying one of the sums."""
        slot = ring.put(value)
        if slot is None:
            self.lost = True
        else:
            self.slots += (slot,)

    def close(self, ring: HostRing) -> None:
        """No more backward calls will come."""
        if self.scalars > 1:
            if self.rest is not None:
                self.bring(ring, self.rest)
                self.rest = None
            self.summed = self.divisor is None or abs(self.divisor - self.scalars) > 1e-6 * self.scalars

    def value(self) -> float:
        """The loss of the round, once it has arrived."""
        return self.total + sum(float(slot.values[0]) for slot in self.slots)

    def spread(self) -> Optional[float]:
        """The standard deviation of the losses of the calls, once they have arrived.

        Only where each was visibly divided by the number of calls, which is undone here: then they are the batches of
        one loss. Two different losses that are not divided would have a spread that means nothing.
        """
        count = self.scalars
        if count < 2 or count != self.calls or self.summed or self.lost or self.divisor is None:
            return None
        drift, squares = self.drift, self.squares
        if self.slots:
            if len(self.slots) != count:
                return None
            values = [float(slot.values[0]) for slot in self.slots]
            apart = [value - values[0] for value in values]
            drift, squares = math.fsum(apart), math.fsum(one * one for one in apart)
        variance = (squares - drift * drift / count) / (count - 1)
        return self.divisor * math.sqrt(variance) if not variance < 0 else 0.0


def before_clipping(clips: Sequence[Clip]) -> Tuple[Optional[Clip], str]:
    """What several clips of a round say together of the norm before them; None and why, where they do not.

    Clips of different gradients add up, layer by layer. Of several of the same the first has the norm before clipping,
    and what is left after all of them follows from the lowest limit.
    """
    first: List[Clip] = []
    covered: FrozenSet[int] = frozenset()
    for clip in clips:
        if clip.params and clip.params <= covered:
            if len(first) != 1 or not clip.most or clip.params != covered:
                first = [one._replace(most=0.0) for one in first]
            else:
                first = [first[0]._replace(most=min(first[0].most, clip.most))]
            continue
        if clip.params & covered:
            return None, "the job clips some gradients again together with others"
        if clip.stale:
            return None, "the job clips between two backward calls of a round"
        if clip.norm is None:
            return None, "the job clips by another norm than the 2-norm, or by one that the probe did not see computed"
        first.append(clip)
        covered |= clip.params
    if len(first) == 1:
        return first[0], ""
    shares = [clip.norm for clip in first if isinstance(clip.norm, Share)]
    if shares:
        return Clip(joined(shares) if len(shares) == len(first) else Share(shares[0].local, None), covered, 0.0), ""
    whole: torch.Tensor = torch.linalg.vector_norm(torch.stack([clip.norm.float() for clip in first]))
    return Clip(whole, covered, 0.0), ""


class Validation:
    """A mean over calls, summed on the device until it is asked for.

    Where each call showed over how many examples it is a mean, this is the mean over all of them; else that over calls.
    """

    __slots__ = ("_examples", "_first", "_weighed", "calls", "total")

    def __init__(self) -> None:
        self.calls = 0
        self.total: Any = None
        self._first: Optional[int] = None
        self._examples = 0
        self._weighed: Any = None  # the sum with weights, from the first call on that has another than the first

    def add(self, value: Any, examples: Optional[int] = None) -> None:
        """One more: a number or a detached scalar tensor."""
        calls, first = self.calls, self._first
        if calls == 0:
            self._first = examples
        elif first is None or examples is None:
            self._first = self._weighed = None
        else:
            if self._weighed is None and examples != first:
                self._weighed = self.total * first
            if self._weighed is not None:
                self._weighed = self._weighed + value * examples
        self._examples += examples or 0
        self.total = value if calls == 0 else self.total + value
        self.calls += 1

    def sum(self) -> Tuple[Any, int]:
        """A sum, and by what to divide it for the mean."""
        return (self.total, self.calls) if self._weighed is None else (self._weighed, self._examples)
