"""Kleene's three-valued logic, walked node by node: slow and plain, to hold what is compiled against."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from steersman.rules.language import expression as ex

Value = float | bool | None

_TWO: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip


def walk(node: ex.Node, values: Mapping[str, Value]) -> Value:
    """The value of an expression; None is unknown."""
    if isinstance(node, ex.Number | ex.Truth):
        return node.value
    if isinstance(node, ex.Name):
        return values.get(node.name)
    if isinstance(node, ex.Known):
        return values.get(node.name) is not None
    if isinstance(node, ex.Unary):
        x = walk(node.operand, values)
        if x is None:
            return None
        return (not x) if node.op == "!" else -x
    left, right = walk(node.left, values), walk(node.right, values)
    if node.op == "&&":
        if left is False or right is False:
            return False
        return None if left is None or right is None else True
    if node.op == "||":
        if left is True or right is True:
            return True
        return None if left is None or right is None else False
    if left is None or right is None:
        return None
    value: Value = _TWO[node.op](left, right)
    return value
