"""Whether a condition could be true at all where some features are never known."""

from __future__ import annotations

from collections.abc import Collection

from steersman.rules.language import expression as ex


def could_hold(node: ex.Node, known: Collection[str], unknown: Collection[str]) -> bool:
    """Whether some values of the features that are known at times make a condition true.

    Args:
        node: the condition.
        known: the features that have a value, at least now and then.
        unknown: the features that have none, at least now and then.

    >>> tree = ex.parse("i_up < 0.06 && !known(c)")
    >>> could_hold(tree, known={"i_up"}, unknown={"c"}), could_hold(tree, known={"i_up", "c"}, unknown=set())
    (True, False)
    """
    return _could(node, known, unknown)[0]


def _could(node: ex.Node, known: Collection[str], unknown: Collection[str]) -> tuple[bool, bool]:
    """Whether it could be true, and whether it could be false; neither where it is never known."""
    if isinstance(node, ex.Truth):
        return node.value, not node.value
    if isinstance(node, ex.Known):
        return node.name in known, node.name in unknown
    if isinstance(node, ex.Unary) and node.op == "!":
        true, false = _could(node.operand, known, unknown)
        return false, true
    if isinstance(node, ex.Binary) and node.op in ("&&", "||"):
        (left, not_left), (right, not_right) = _could(node.left, known, unknown), _could(node.right, known, unknown)
        if node.op == "&&":
            return left and right, not_left or not_right
        return left or right, not_left and not_right
    there = all(name in known for name in ex.names(node))
    return there, there
