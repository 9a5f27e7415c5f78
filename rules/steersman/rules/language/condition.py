"""An expression made ready to be evaluated, in three-valued logic."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from steersman.rules.language import expression as ex

Value = float | bool | None

_COMPARE: dict[str, tuple[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    "<": (ast.Lt, operator.lt),
    "<=": (ast.LtE, operator.le),
    ">": (ast.Gt, operator.gt),
    ">=": (ast.GtE, operator.ge),
    "==": (ast.Eq, operator.eq),
    "!=": (ast.NotEq, operator.ne),
}
_ARITHMETIC: dict[str, tuple[type[ast.operator], Callable[[Any, Any], float]]] = {
    "+": (ast.Add, operator.add),
    "-": (ast.Sub, operator.sub),
    "*": (ast.Mult, operator.mul),
    "/": (ast.Div, operator.truediv),
}


class Condition:
    """Evaluates one expression: true, false, or None for *unknown* (Kleene).

    Where every feature it reads is known, which is nearly always, it runs as Python bytecode compiled from an AST of
    nothing but names, numbers and operators; otherwise the tree is walked.

    Args:
        source: an expression that `Checker` accepts.

    >>> condition = Condition("c > 0.1 && R < 0.15")
    >>> condition.evaluate({"c": 0.2, "R": 0.1}), condition.evaluate({"c": 0.0, "R": None})
    (True, False)
    >>> condition.evaluate({"c": 0.2, "R": None}) is None
    True
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.tree = ex.parse(source)
        self.names = tuple(ex.names(self.tree))
        self.parts = ex.size(self.tree)
        self._fast = _compile(self.tree)

    def evaluate(self, values: Mapping[str, Value]) -> bool | None:
        """The truth of it for these features."""
        try:
            for name in self.names:
                if values.get(name) is None:
                    truth = _walk(self.tree, values)
                    return None if truth is None else bool(truth)
            return bool(self._fast(values))
        except (ArithmeticError, TypeError):
            # A division by zero, or an overflow: nothing is known then.
            return None

    def threshold(self, name: str) -> float | None:
        """The number that a feature is first compared with, None where it is compared with none.

        >>> Condition("c > 0.1 && R < 0.15").threshold("R")
        0.15
        """
        stack: list[ex.Node] = [self.tree]
        while stack:
            node = stack.pop()
            if isinstance(node, ex.Binary):
                if node.op in _COMPARE and isinstance(node.left, ex.Name) and node.left.name == name:
                    number = _constant(node.right)
                    if number is not None:
                        return number
                stack += [node.right, node.left]
            elif isinstance(node, ex.Unary):
                stack.append(node.operand)
        return None


def _constant(node: ex.Node) -> float | None:
    if isinstance(node, ex.Number):
        return node.value
    if isinstance(node, ex.Unary) and node.op == "-" and isinstance(node.operand, ex.Number):
        return -node.operand.value
    return None


def _compile(tree: ex.Node) -> Callable[[Mapping[str, Value]], Any]:
    argument = ast.arguments(posonlyargs=[], args=[ast.arg("v")], kwonlyargs=[], kw_defaults=[], defaults=[])
    body = ast.Expression(ast.Lambda(argument, _python(tree)))
    code = compile(ast.fix_missing_locations(body), "<rule>", "eval")
    made: Callable[[Mapping[str, Value]], Any] = eval(code, {"__builtins__": {}})  # of our own AST, no text of a user
    return made


def _python(node: ex.Node) -> ast.expr:
    if isinstance(node, ex.Number | ex.Truth):
        return ast.Constant(node.value)
    if isinstance(node, ex.Name):
        return ast.Subscript(ast.Name("v", ast.Load()), ast.Constant(node.name), ast.Load())
    if isinstance(node, ex.Known):
        got = ast.Subscript(ast.Name("v", ast.Load()), ast.Constant(node.name), ast.Load())
        return ast.Compare(got, [ast.IsNot()], [ast.Constant(None)])
    if isinstance(node, ex.Unary):
        return ast.UnaryOp(ast.Not() if node.op == "!" else ast.USub(), _python(node.operand))
    left, right = _python(node.left), _python(node.right)
    if node.op in _COMPARE:
        return ast.Compare(left, [_COMPARE[node.op][0]()], [right])
    if node.op in _ARITHMETIC:
        return ast.BinOp(left, _ARITHMETIC[node.op][0](), right)
    return ast.BoolOp(ast.And() if node.op == "&&" else ast.Or(), [left, right])


def _walk(node: ex.Node, values: Mapping[str, Value]) -> Value:
    if isinstance(node, ex.Number | ex.Truth):
        return node.value
    if isinstance(node, ex.Name):
        return values.get(node.name)
    if isinstance(node, ex.Known):
        return values.get(node.name) is not None
    if isinstance(node, ex.Unary):
        x = _walk(node.operand, values)
        if x is None:
            return None
        return (not x) if node.op == "!" else -x
    left, right = _walk(node.left, values), _walk(node.right, values)
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
    if node.op in _COMPARE:
        return _COMPARE[node.op][1](left, right)
    return _ARITHMETIC[node.op][1](left, right)
