"""What autograd's graph shows of a loss: by what it was divided, and from what it comes."""

from __future__ import annotations

from typing import Any, List, Optional

from .ring import peek

_SAME = frozenset(
    ("ViewBackward0", "ReshapeAliasBackward0", "UnsafeViewBackward0", "SqueezeBackward0", "ToCopyBackward0")
)
DIVIDING = _SAME | {"DivBackward0", "MulBackward0"}


def divided_by(node: Any) -> Optional[float]:
    """The number by which a loss was divided last, where autograd's graph shows it and it is in host memory.

    Divided more than once in a row, as where a trainer and the library below it both divide: by the product.
    """
    found: Optional[float] = None
    while node is not None:
        name = node.name()
        if name == "DivBackward0":
            divisor = peek(getattr(node, "_saved_other", None))
        elif name == "MulBackward0":
            factor = peek(getattr(node, "_saved_other", None))
            divisor = 1.0 / factor if factor else None
        elif name in _SAME:
            divisor = 1.0
        else:
            break
        if divisor is None:
            break
        if name not in _SAME:
            found = divisor if found is None else found * divisor
        node = node.next_functions[0][0]
    return found


def descends(node: Any, from_any: List[Any]) -> bool:
    """Whether a graph comes from one of these nodes, a few operations away."""
    near, looked = [node], 0
    while near and looked < 32:
        one = near.pop(0)
        looked += 1
        if one is None:
            continue
        if any(one is other for other in from_any):
            return True
        near.extend(following for following, _ in one.next_functions)
    return False
