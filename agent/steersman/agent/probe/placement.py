"""Over which ranks a tensor lies, by a name from which another process finds them again.

A placement is named by the ranks that hold one whole between them, in the order of their numbers: `4x1` are four
ranks one apart, `2x8` two ranks eight apart, `2x8.4x1` two such fours eight apart, and `whole` says that every rank
holds all. A rank's own number says which of the groups of such a shape it belongs to.
"""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import torch

WHOLE = "whole"


class Share(NamedTuple):
    """The norm by which a job clipped gradients that lie over several ranks, as far as this rank knows it."""

    local: torch.Tensor
    place: Optional[str]

    def over(self, scale: torch.Tensor) -> Share:
        """The same of gradients that were multiplied by this."""
        return Share(self.local / scale, self.place)


def share_of(total: Any) -> Optional[Share]:
    """What a norm that lies over several ranks says on this one; None for one that does not."""
    if not lies_over_ranks(total):
        return None
    with torch.no_grad():
        local = total.to_local()
    if type(local) is not torch.Tensor or local.dim():
        return Share(torch.zeros(()), None)
    return Share(local.detach(), place_of(total.device_mesh, total.placements, of_norm=True))


def joined(shares: Sequence[Share]) -> Share:
    """Several, of different gradients, as one."""
    places = {share.place for share in shares}
    if len(places) != 1:
        return Share(torch.zeros(()), None)
    with torch.no_grad():
        return Share(torch.linalg.vector_norm(torch.stack([share.local.double() for share in shares])), places.pop())


def place_of(mesh: Any, placements: Sequence[Any], of_norm: bool = False) -> Optional[str]:
    """The placement by name; None where a part of that kind has no norm that could be added up.

    Args:
        mesh: a DeviceMesh.
        placements: one for each of its dimensions.
        of_norm: whether it is a norm of order 2 that is placed so, rather than gradients.
    """
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        return None
    index: List[Any] = []
    for placement, mine in zip(placements, coordinate):
        kind = type(placement).__name__
        if placement.is_replicate():
            index.append(mine)
        elif of_norm:
            if kind != "_NormPartial" or placement.norm_type != 2:
                return None
            index.append(slice(None))
        elif placement.is_shard() or kind == "_StridedShard":
            index.append(slice(None))
        else:
            return None
    return name_of(sorted(mesh.mesh[tuple(index)].reshape(-1).tolist()))


def name_of(ranks: Sequence[int]) -> Optional[str]:
    """The name of the shape of a group of ranks, given in order; None where it has none.

    >>> name_of([3]), name_of([4, 5, 6, 7]), name_of([0, 1, 8, 9]), name_of([0, 1, 3])
    ('whole', '4x1', '2x8.2x1', None)

    A shape has a name only if each rank's number tells which group is its own: these are not at a multiple of two.

    >>> name_of([1, 2])
    """
    shape: List[Tuple[int, int]] = []
    rest = [rank - ranks[0] for rank in ranks]
    while len(rest) > 1:
        stride, size = rest[1], 1
        while size < len(rest) and rest[size] == size * stride:
            size += 1
        if len(rest) % size:
            return None
        shape.insert(0, (size, stride))
        heads = rest[::size]
        if rest != [head + at * stride for head in heads for at in range(size)]:
            return None
        rest = heads
    if any(rank - sum(rank // stride % size * stride for size, stride in shape) != ranks[0] for rank in ranks):
        return None
    return ".".join(f"{size}x{stride}" for size, stride in shape) or WHOLE


def held(tensor: Any) -> Any:
    """What this rank holds of a tensor; without gradients, for that of a DTensor would be traced else."""
    return tensor.to_local() if lies_over_ranks(tensor) else tensor


def lies_over_ranks(tensor: Any) -> bool:
    """Whether it is a DTensor."""
    # By what it offers: its module has moved, and importing it for a look would cost a job that has none.
    return type(tensor) is not torch.Tensor and hasattr(tensor, "device_mesh") and hasattr(tensor, "to_local")
