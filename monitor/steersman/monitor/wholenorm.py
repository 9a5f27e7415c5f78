"""The job's gradient norm and direction, from what each rank holds of them. No rank's part is taken for the whole."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PREFIX = "grad_square/"
UNKNOWN = PREFIX + "unknown"
OWN = "grad_norm"
DIRECTION = ("direction_dot/", "direction_grad/", "direction_update/", "direction_weight/")
PROMISE = ("promise_dot/", "promise_grad/")
PARTS = (PREFIX, *DIRECTION, *PROMISE)
"""With what the names of columns begin that hold a rank's part."""

# What ranks hold alike they compute alike, to the bit on like devices; rounding may differ between unlike ones.
_ALIKE = 1e-5
_DIMENSION = re.compile(r"([1-9][0-9]{0,8})x([1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Placement:
    """The shape of the groups of ranks that hold one whole between them, as (ranks, distance), widest first.

    >>> Placement.of("grad_square/2x8.2x1").first(11), Placement.of("grad_square/2x8.2x1").size
    (2, 4)
    >>> Placement.of("grad_square/whole").size
    1
    """

    shape: tuple[tuple[int, int], ...]

    @classmethod
    @functools.lru_cache(maxsize=1024)
    def of(cls, column: str) -> Placement | None:
        """The placement that a column's name tells; None for one that nobody can read."""
        name = column.partition("/")[2].partition("/")[0]
        if name == "whole":
            return cls(())
        found = [_DIMENSION.fullmatch(part) for part in name.split(".")]
        shape = tuple((int(match[1]), int(match[2])) for match in found if match)
        return cls(shape) if len(shape) == len(found) else None

    @property
    def size(self) -> int:
        """How many ranks hold one whole."""
        return math.prod(ranks for ranks, _ in self.shape)

    def first(self, rank: int) -> int:
        """The lowest number in a rank's group, by which the group is known."""
        return rank - sum(rank // distance % ranks * distance for ranks, distance in self.shape)


def whole_norm(parts: Mapping[int, Mapping[str, float]], ranks: int) -> float | None:
    """The norm over all gradients of a job, each counted once; None where the parts do not make it up.

    Args:
        parts: by rank, the squares by column (`grad_square/PLACEMENT`), and the rank's own `grad_norm` where an
            optimizer of it has whole gradients.
        ranks: how many the job has.

    A part that is placed over some of the ranks is added up within each of their groups. Several groups are replicas
    of each other and are so only if they say the same: where they do not, nobody knows what the job's gradients are.

    >>> whole_norm({0: {"grad_square/2x1": 9.0}, 1: {"grad_square/2x1": 16.0}}, 2)
    5.0
    >>> whole_norm({0: {"grad_square/whole": 9.0}, 1: {"grad_square/whole": 16.0}}, 2)
    """
    columns = sorted({name for held in parts.values() for name in held if name == OWN or name.startswith(PREFIX)})
    if len(parts) != ranks or not columns or UNKNOWN in columns:
        return None
    squares = [_square(column, parts, ranks) for column in columns]
    known = [square for square in squares if square is not None]
    return math.sqrt(sum(known)) if len(known) == len(squares) else None


def whole_direction(parts: Mapping[int, Mapping[str, float]], ranks: int, norm: float | None) -> dict[str, float]:
    """The cosine of successive steps, the lengths of step and weights, and the promised decrease, as far as known.

    Args:
        parts: by rank, the sums by column (`direction_dot/PLACEMENT` and its like).
        ranks: how many the job has.
        norm: that of all gradients before the job clipped them: the loss falls along these.

    >>> held = {"direction_dot/2x1": -1.0, "direction_grad/2x1": 2.0, "direction_update/2x1": 0.5}
    >>> whole_direction({0: held, 1: held}, 2, None)
    {'hypergrad_cos': 1.0, 'update_norm': 1.0}
    """
    if len(parts) != ranks:
        return {}
    dot, grad, update, weight = (_sum(name, parts, ranks) for name in DIRECTION)
    promised, slope = (_sum(name, parts, ranks) for name in PROMISE)
    found: dict[str, float] = {}
    if dot is not None and grad is not None and update is not None and grad > 0.0 and update > 0.0:
        cosine = -dot / (math.sqrt(grad) * math.sqrt(update))
        found["hypergrad_cos"] = max(-1.0, min(1.0, cosine)) if math.isfinite(cosine) else cosine
    if update is not None and update >= 0.0:
        found["update_norm"] = math.sqrt(update)
    if weight is not None and weight >= 0.0:
        found["weight_norm"] = math.sqrt(weight)
    columns = {column for held in parts.values() for column in held}
    # Where the job clips by what has no norm, nobody knows how much the clip took from what was promised.
    if promised is not None and UNKNOWN not in columns:
        whole = slope is not None and slope > 0.0 and norm is not None and math.isfinite(norm)
        same = _places(columns, PROMISE[0]) == _places(columns, PROMISE[1])
        # The norm of several optimizers is not that of the gradients of one.
        alone = OWN not in columns and not any(name.startswith(PREFIX) and name.count("/") > 1 for name in columns)
        factor = norm / math.sqrt(slope) if whole and same and alone and norm is not None and slope else 1.0
        found["predicted_decrease"] = -promised * factor
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _places(columns: Iterable[str], prefix: str) -> set[str]:
    return {name.removeprefix(prefix) for name in columns if name.startswith(prefix)}


def _sum(prefix: str, parts: Mapping[int, Mapping[str, float]], ranks: int) -> float | None:
    """What ranks hold of one sum, added up over each placement and all of them."""
    total: float | None = None
    for column in sorted({name for held in parts.values() for name in held if name.startswith(prefix)}):
        placement = Placement.of(column)
        values = {rank: held[column] for rank, held in parts.items() if column in held}
        whole = None if placement is None else _over_ranks(placement, values, ranks)
        if whole is None:
            return None
        total = whole + (total or 0.0)
    return total


def _square(column: str, parts: Mapping[int, Mapping[str, float]], ranks: int) -> float | None:
    placement = Placement(()) if column == OWN else Placement.of(column)
    values = {rank: held[column] for rank, held in parts.items() if column in held}
    if placement is None or any(value < 0 for value in values.values()):
        return None
    return _over_ranks(placement, {r: v * v for r, v in values.items()} if column == OWN else values, ranks)


def _over_ranks(placement: Placement, values: Mapping[int, float], ranks: int) -> float | None:
    if ranks % placement.size:
        return None
    sums: dict[int, float] = {}
    counts: dict[int, int] = {}
    for rank in range(ranks):
        value = values.get(rank)
        if value is None:
            return None
        first = placement.first(rank)
        sums[first] = sums.get(first, 0.0) + value
        counts[first] = counts.get(first, 0) + 1
    if any(count != placement.size for count in counts.values()):
        return None
    lowest = sums[min(sums)]
    return lowest if all(_alike(lowest, other) for other in sums.values()) else None


def _alike(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_ALIKE) or (math.isnan(one) and math.isnan(other))
