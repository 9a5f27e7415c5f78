"""Whether successive steps agree: the one scalar that a flat loss does not show.

Every tenth step and the one before it. What is summed on an accelerator is read later like any other value.
"""

from __future__ import annotations

import random
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch._utils import _flatten_dense_tensors

from .norm import Flat
from .placement import WHOLE, held, lies_over_ranks, place_of
from .ring import HostRing, Slot, peek

# Scalars looked at: all of a model that has no more, else pieces that together have as many.
_MOST = 1 << 17
_PIECES = 32
# An optimizer of more groups than these has one direction only.
_MOST_GROUPS = 8
# Each way in which parameters lie over ranks takes six columns of a row.
_MOST_PLACES = 4
# The classes that step from gradients the plain way: of others nobody knows what a change of weights means.
_PLAIN = (
    "SGD", "RMSprop", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "Adafactor", "Muon",
)  # fmt: skip


class Sums(NamedTuple):
    """A few sums over the scalars that are looked at, as numbers or on their way, and their share of all scalars."""

    values: Optional[Tuple[float, ...]]
    slot: Optional[Slot]
    share: float
    groups: Tuple[int, ...] = ()
    """The groups of which three more each are there: <g',du>, |g'|² and |du|²."""
    places: Tuple[str, ...] = ()
    """Placements, where these are of a rank's part: then all sums are there for each of them, one after the other."""
    shares: Tuple[float, ...] = ()
    """Of what lies by each of them, the share that is looked at."""

    def read(self) -> Tuple[float, ...]:
        """The numbers, once they have arrived; gives the room back."""
        if self.values is not None:
            return self.values
        if self.slot is None:
            return ()
        numbers = tuple(float(value) for value in self.slot.values)
        self.slot.free()
        return numbers


class Piece(NamedTuple):
    """A run of scalars of one parameter."""

    param: torch.Tensor
    start: int
    stop: int


class Run(NamedTuple):
    """Where the scalars of one group stand in what is looked at."""

    group: int
    start: int
    stop: int


class Direction:
    """Samples the direction of one optimizer from the change of its weights over one step.

    A model of up to 131,072 scalars is looked at whole. Of a larger one 32 pieces of 4,096 scalars are, at places
    drawn once, each scalar being as likely as any other: the cosine is then that of the pieces, and `update_norm` and
    `weight_norm` are estimates, those of the pieces scaled up by the root of their share. Memory for two copies of what
    is looked at is all it takes, kept from sample to sample where it is the host's.

    Of parameters that lie over ranks each rank looks at what it holds, and nobody asks another: its sums, one for each
    way in which parameters lie, are parts of those of the job.

    An optimizer of two to eight groups has the cosine of each besides, unless it lies over ranks; of a large model not
    of those of which there is less than a piece.

    Args:
        ring: brings results to the host.
    """

    def __init__(self, ring: HostRing) -> None:
        self._ring = ring
        self._key: Tuple[int, ...] = ()
        self._whole = True
        self._share = 1.0
        self._sign = 1.0
        self.places: Tuple[str, ...] = ()
        """Over which ranks the parameters lie, by name; none where they do not."""
        self._where: Dict[Any, Optional[str]] = {}
        self._order: Dict[int, int] = {}
        self._shares: Tuple[float, ...] = ()
        self._pieces: List[Piece] = []
        self._runs: List[Run] = []
        self._params: List[torch.Tensor] = []
        self._room: Optional[Tuple[Flat, Flat]] = None
        self._before: Optional[torch.Tensor] = None
        self._gradient: Optional[torch.Tensor] = None
        self._update: Optional[torch.Tensor] = None
        self._lengths: Tuple[torch.Tensor, ...] = ()
        self._square: Optional[float] = None
        self.known = False
        self.watched = False
        """Whether the last step was watched, so that this one can be compared with it."""
        self.watching = False
        """Whether this step is being watched."""

    def look(self, optimizer: Any) -> bool:
        """Take an optimizer's shape in, again after its groups have changed; whether it can be sampled."""
        key = tuple(len(group["params"]) for group in optimizer.param_groups)
        if key == self._key:
            return self.known
        self._key = key
        self.forget()
        params = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        known = self._look_where(params)
        with torch.no_grad():
            parts = [held(p) for p in params]
        plain = known and all(
            type(p) in (torch.Tensor, torch.nn.Parameter) and p.is_floating_point() and p.layout == torch.strided
            for p in parts
        )
        signs = {-1.0 if group.get("maximize") else 1.0 for group in optimizer.param_groups}
        self.known = (
            plain
            and len(signs) == 1
            and len({(p.device, p.dtype) for p in parts}) == 1
            and plain_class(optimizer) in _PLAIN
        )
        if self.known:
            self._sign = signs.pop()
            sizes = [p.numel() for p in parts]
            if self.places:
                self._look_at_parts(params, sizes)
                return True
            total = sum(sizes)
            self._whole = total <= _MOST
            self._pieces = [] if self._whole else pieces(params, sizes)
            self._share = 1.0 if self._whole else sum(stop - start for _, start, stop in self._pieces) / total
            self._runs = [] if self._whole else runs(optimizer, self._pieces)
        return self.known

    def _look_at_parts(self, params: Sequence[Any], sizes: Sequence[int]) -> None:
        """Choose for each placement by itself: ranks that hold the same by one look at the same of it."""
        found: List[Piece] = []
        shares: List[float] = []
        self._whole = True
        for at, place in enumerate(self.places):
            ours = [(p, size) for p, size in zip(params, sizes) if self._rank(p) == at]
            total = sum([size for _, size in ours])
            if total <= _MOST:
                found += [Piece(p, 0, size) for p, size in ours]
                shares.append(1.0)
            else:
                chosen = pieces([p for p, _ in ours], [size for _, size in ours], place)
                found += chosen
                shares.append(sum([stop - start for _, start, stop in chosen]) / total)
                self._whole = False
        self._pieces = [] if self._whole else found
        self._shares = tuple(shares)

    def _look_where(self, params: Sequence[Any]) -> bool:
        """Take in over which ranks the parameters lie; whether what they hold can be added up."""
        self.places, self._order = (), {}
        if not any(map(lies_over_ranks, params)):
            return True
        found = [self._place(p) for p in params]
        self.places = tuple(sorted({place for place in found if place is not None}))
        if None in found or len(self.places) > _MOST_PLACES:
            return False
        self._order = {id(p): self.places.index(place) for p, place in zip(params, found) if place is not None}
        return True

    def _place(self, tensor: Any) -> Optional[str]:
        if not lies_over_ranks(tensor):
            return WHOLE
        kind = (tensor.device_mesh, tensor.placements)
        if kind not in self._where:
            self._where[kind] = place_of(*kind)
        return self._where[kind]

    def _rank(self, param: Any) -> int:
        return self._order.get(id(param), 0)

    def _cuts(self) -> List[slice]:
        """Where in what is looked at stands what lies by each placement."""
        sizes = [0] * len(self.places)
        if self._whole:
            for param in self._params:
                sizes[self._rank(param)] += held(param).numel()
        else:
            for param, start, stop in self._pieces:
                sizes[self._rank(param)] += stop - start
        ends = [sum(sizes[: at + 1]) for at in range(len(sizes))]
        return [slice(end - size, end) for end, size in zip(ends, sizes)]

    def watch(self, optimizer: Any, flat: Optional[torch.Tensor], square: float) -> None:
        """Before a step: keep its gradients and the weights.

        Args:
            optimizer: whose step it is.
            flat: all gradients as one vector, where somebody made that.
            square: its square.
        """
        self._params = self._with_gradient(optimizer)
        self._gradient = self._gradients(flat)
        self._square = square if self._gradient is flat else None
        self._before = None if self._gradient is None else self._weights(0)
        self.watching = self._before is not None

    def after(self, wanted: bool) -> Optional[Sums]:
        """After that step: <g,du> and |g|² where they are wanted, with du what the step changed."""
        before, self._before = self._before, None
        self.watching = False
        gradient, self._gradient = self._gradient, None
        if before is None or gradient is None:
            return None
        weights = self._weights(1)
        if weights is None or weights.dtype != before.dtype or weights.numel() != before.numel():
            return None
        update = torch.sub(weights, before, out=before)
        self._update = update
        self.watched = True
        if self.places:
            ours = [(gradient[cut], update[cut], weights[cut]) for cut in self._cuts()]
            self._lengths = tuple([torch.dot(one, one) for _, u, w in ours for one in (u, w)])
            return self._bring_parts([x for g, u, _ in ours for x in (self._dot(g, u), torch.dot(g, g))], wanted)
        self._lengths = (torch.dot(update, update), torch.dot(weights, weights))
        return self._bring(gradient, update, self._square) if wanted else None

    def compare(self, optimizer: Any, flat: Optional[torch.Tensor], square: float) -> Optional[Sums]:
        """Before the step after that: <g',du>, |g'|², |du|² and |w|², with g' its gradients and w its weights.

        Of each group <g',du>, |g'|² and |du|² follow.
        """
        update, self._update = self._update, None
        self.watched = False
        params, self._params = self._params, []
        now = self._with_gradient(optimizer)
        # A parameter without a gradient in one of the two steps: the vectors would not fit each other.
        if update is None or len(now) != len(params) or not all(a is b for a, b in zip(now, params)):
            return None
        self._params = params
        gradient = self._gradients(flat)
        if gradient is None or gradient.dtype != update.dtype or gradient.numel() != update.numel():
            return None
        known = square if gradient is flat else None
        if self.places:
            lengths = [self._lengths[at : at + 2] for at in range(0, len(self._lengths), 2)]
            ours = [(gradient[cut], update[cut], *two) for cut, two in zip(self._cuts(), lengths)]
            return self._bring_parts([x for g, u, *two in ours for x in (self._dot(g, u), torch.dot(g, g), *two)])
        if not 2 <= len(self._key) <= _MOST_GROUPS:
            return self._bring(gradient, update, known, *self._lengths)
        places = whole_runs(optimizer) if self._whole else self._runs
        found: List[torch.Tensor] = []
        for _, start, stop in places:
            one, other = gradient[start:stop], update[start:stop]
            found += (self._dot(one, other), torch.dot(one, one), torch.dot(other, other))
        sums = self._bring(gradient, update, known, *self._lengths, *found)
        return None if sums is None else sums._replace(groups=tuple(place.group for place in places))

    def forget(self) -> None:
        """Drop what was watched."""
        self._before = self._gradient = self._update = None
        self._params = []
        self.watched = self.watching = False
        self._lengths = ()

    def release(self) -> None:
        """The optimizer is gone: keep nothing of its parameters."""
        self.forget()
        self._pieces = []
        self._runs = []
        self._room = None
        self._key = ()

    def _with_gradient(self, optimizer: Any) -> List[torch.Tensor]:
        found = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.places:
            if not self._order.keys() >= {id(p) for p in found}:
                self._key = ()  # one that was frozen: next time they are looked at anew
            found.sort(key=self._rank)
        return found

    def _gradients(self, flat: Optional[torch.Tensor]) -> Optional[torch.Tensor]:
        found: List[torch.Tensor] = []
        if self._whole:
            if flat is not None and not self.places:
                return flat
            found = [p.grad for p in self._params if p.grad is not None]
        else:
            for param, _, _ in self._pieces:
                gradient = param.grad
                if gradient is None:
                    return None
                found.append(gradient)
        if self.places:
            of = self._params if self._whole else [param for param, _, _ in self._pieces]
            if any(self._place(g) != self.places[self._rank(param)] for g, param in zip(found, of)):
                return None
            found = [held(g) for g in found]
        if not found or any(g.layout != torch.strided for g in found):
            return None
        if self._whole:
            return _one(found)
        return _one([g.reshape(-1)[start:stop] for g, (_, start, stop) in zip(found, self._pieces)])

    def _weights(self, place: int) -> Optional[torch.Tensor]:
        """The weights that are looked at, copied; before the step at place 0, after it at place 1."""
        if not self._whole:
            return _one([held(param).reshape(-1)[start:stop] for param, start, stop in self._pieces])
        params = [held(p) for p in self._params] if self.places else self._params
        if params[0].is_cpu and params[0].dtype in (torch.float32, torch.float64):
            if place == 0 and (self._room is None or not self._room[0].fill(params)):
                self._room = (Flat(params), Flat(params))
                self._room[0].fill(params)
            room = self._room
            return room[place].whole if room is not None and (place == 0 or room[1].fill(params)) else None
        if len(params) == 1:
            # Flattening one tensor only looks at it from another side, and the step would change the copy too.
            return _one([params[0].detach().clone()])
        return _one(params)

    def _bring(
        self, gradient: torch.Tensor, update: torch.Tensor, square: Optional[float], *more: torch.Tensor
    ) -> Optional[Sums]:
        product = self._dot(gradient, update)
        known = torch.dot(gradient, gradient) if square is None else square
        if isinstance(known, torch.Tensor) and not product.is_cpu:
            return Sums(None, self._ring.put(torch.stack((product, known, *more))), self._share)
        numbers = [number for number in map(peek, (product, known, *more)) if number is not None]
        return Sums(tuple(numbers), None, self._share) if len(numbers) == len(more) + 2 else None

    def _bring_parts(self, sums: Sequence[torch.Tensor], wanted: bool = True) -> Optional[Sums]:
        if not wanted:
            return None
        if not sums[0].is_cpu:
            return Sums(None, self._ring.put(torch.stack(list(sums))), 1.0, (), self.places, self._shares)
        numbers = tuple([number for number in map(peek, sums) if number is not None])
        return Sums(numbers, None, 1.0, (), self.places, self._shares) if len(numbers) == len(sums) else None

    def _dot(self, gradient: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
        product = torch.dot(gradient, update)
        return product if self._sign > 0 else -product


def _one(tensors: List[torch.Tensor]) -> torch.Tensor:
    flat: torch.Tensor = _flatten_dense_tensors(tensors)
    return flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat


def pieces(params: Sequence[torch.Tensor], sizes: Sequence[int], seed: Any = 0) -> List[Piece]:
    """Runs of scalars at places drawn once, each place among all scalars as likely as any other.

    Args:
        params: the parameters.
        sizes: how many scalars of each are here.
        seed: what the places are drawn from.
    """
    # Our own generator: the job's must not move.
    draw = random.Random(seed)
    total = sum(sizes)
    length = _MOST // _PIECES
    found: List[Piece] = []
    taken = set()
    # One place in each of as many equal parts, so that pieces are spread over the whole model.
    for part in range(_PIECES):
        place = int((part + draw.random()) * total / _PIECES)
        for param, size in zip(params, sizes):
            if place < size:
                start = max(0, min(place, size - length))
                if (id(param), start) not in taken:
                    taken.add((id(param), start))
                    found.append(Piece(param, start, min(start + length, size)))
                break
            place -= size
    return found


def whole_runs(optimizer: Any) -> List[Run]:
    """Where each group stands in a vector of all parameters that have a gradient."""
    found: List[Run] = []
    at = 0
    for index, group in enumerate(optimizer.param_groups):
        size = sum([p.numel() for p in group["params"] if p.grad is not None])
        if size:
            found.append(Run(index, at, at + size))
        at += size
    return found


def runs(optimizer: Any, found: Sequence[Piece]) -> List[Run]:
    """Where each group stands in a vector of pieces; groups of which there is too little are left out."""
    places: List[Run] = []
    at = 0
    for index, group in enumerate(optimizer.param_groups):
        members = {id(param) for param in group["params"]}
        size = sum(stop - start for param, start, stop in found if id(param) in members)
        # A few scalars of many would not speak for the group.
        if size >= min(_MOST // _PIECES, sum(p.numel() for p in group["params"] if p.requires_grad)) > 0:
            places.append(Run(index, at, at + size))
        at += size
    return places


def plain_class(optimizer: Any) -> Optional[str]:
    """The nearest of an optimizer's classes that is torch's own, or transformers' (Adafactor)."""
    for cls in type(optimizer).__mro__:
        module = cls.__module__
        # Of torch's classes some name the package as their module, others the module that they stand in.
        torchs = module == "torch.optim" or module.startswith("torch.optim.")
        if (torchs and cls is not torch.optim.Optimizer) or module == "transformers.optimization":
            return str(cls.__name__)
    return None
