"""The job's gradient norm, from what each rank holds of the gradients. No rank's part is taken for the whole."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "grad_square/"
UNKNOWN = PREFIX + "unknown"
OWN = "grad_norm"

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
        name = column.removeprefix(PREFIX).partition("/")[0]
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
    columns = sorted({column for held in parts.values() for column in held})
    if len(parts) != ranks or not columns or UNKNOWN in columns:
        return None
    squares = [_square(column, parts, ranks) for column in columns]
    known = [square for square in squares if square is not None]
    return math.sqrt(sum(known)) if len(known) == len(squares) else None


def _square(column: str, parts: Mapping[int, Mapping[str, float]], ranks: int) -> float | None:
    placement = Placement(()) if column == OWN else Placement.of(column)
    if placement is None or ranks % placement.size:
        return None
    sums: dict[int, float] = {}
    counts: dict[int, int] = {}
    for rank in range(ranks):
        value = parts[rank].get(column) if rank in parts else None
        if value is None or value < 0:
            return None
        first = placement.first(rank)
        sums[first] = sums.get(first, 0.0) + (value * value if column == OWN else value)
        counts[first] = counts.get(first, 0) + 1
    if any(count != placement.size for count in counts.values()):
        return None
    lowest = sums[min(sums)]
    return lowest if all(_alike(lowest, other) for other in sums.values()) else None


def _alike(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_ALIKE) or (math.isnan(one) and math.isnan(other))
