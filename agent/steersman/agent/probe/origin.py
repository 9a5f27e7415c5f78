"""From what a loss was made, where the function that made it shows: its name, and how much it was given."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import torch

_KEY = "steersman"
_MOST_LOOKED = 64
# Their input has a dimension of classes, and is often given with all positions in one row after another.
_CLASSES = frozenset(("cross_entropy", "nll_loss", "kl_div", "multi_margin_loss"))
# Of these the first dimension is none of examples.
_OTHERWISE = frozenset(("ctc_loss",))


class Origin(NamedTuple):
    """One call of a loss function.

    Attributes:
        function: its name.
        examples: the leading dimension of its input, where that can only be the batch.
        targets: of classifying losses how many targets there were, those that are to be ignored included; of others
            how many predictions, where they are one number each.
        place: who called it, where somebody asked; else empty.
    """

    function: str
    examples: Optional[int]
    targets: Optional[int]
    place: str = ""


def origin(function: str, args: Sequence[Any], kwargs: Dict[str, Any], place: str = "") -> Origin:
    """What the arguments of a loss function say. Only shapes are looked at, which the host knows."""
    given = args[0] if args else kwargs.get("input")
    if type(given) is not torch.Tensor or function in _OTHERWISE:
        return Origin(function, None, None, place)
    shape = given.shape
    sides = len(shape)
    if function not in _CLASSES:
        return Origin(function, shape[0] if sides > 1 else None, shape[0] if sides == 1 else None, place)
    positions = 1
    for side in shape[2:]:
        positions *= side
    # With two dimensions nobody knows whether a row is an example or one position of one.
    return Origin(function, shape[0] if sides > 2 else None, shape[0] * positions if sides > 1 else 1, place)


def examples(function: str, args: Sequence[Any], kwargs: Dict[str, Any]) -> Optional[int]:
    """By how much a mean weighs among others of its kind: the leading dimension of the input, None where none shows.

    The rows of a language model's batch lie there one after another, and are as many for each example.
    """
    given = args[0] if args else kwargs.get("input")
    if type(given) is not torch.Tensor or function in _OTHERWISE or given.dim() == 0:
        return None
    return 1 if given.dim() == 1 and function in _CLASSES else given.shape[0]


def mark(value: torch.Tensor, made: Origin) -> None:
    """Leave a note on the node of autograd's graph that made a loss; it goes when the graph goes."""
    node: Any = value.grad_fn
    if node is not None:
        node.metadata[_KEY] = made


def origin_of(loss: Any) -> Optional[Origin]:
    """The one call of a loss function from which this was made; None where there were several, or nobody knows.

    What was added to it beside is no matter. Several calls may be parts of one batch or losses of different ones.
    """
    if not isinstance(loss, torch.Tensor):
        if not isinstance(loss, (list, tuple)) or len(loss) != 1:
            return None
        loss = loss[0]
    found: Optional[Origin] = None
    near, seen = [getattr(loss, "grad_fn", None)], 0
    while near:
        node = near.pop()
        if node is None:
            continue
        seen += 1
        if seen > _MOST_LOOKED:
            return None
        made = node.metadata.get(_KEY)
        if made is None:
            near.extend(following for following, _ in node.next_functions)
        elif found is not None and found is not made:
            return None
        else:
            found = made
    return found


def summed(origins: Sequence[Optional[Origin]]) -> Tuple[Optional[int], Optional[int]]:
    """Examples and targets of all backward calls of a round; None where one of them does not say."""
    examples, targets = 0, 0
    known = [bool(origins), bool(origins)]
    for one in origins:
        if one is None or one.examples is None:
            known[0] = False
        else:
            examples += one.examples
        if one is None or one.targets is None:
            known[1] = False
        else:
            targets += one.targets
    return examples if known[0] else None, targets if known[1] else None
