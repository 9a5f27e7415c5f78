"""Which of many conditions can be true, in one walk."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from steersman.rules.language import expression as ex
from steersman.rules.language.condition import COMPARE, Condition, as_python

Value = float | bool | None


class Sieve:
    """Tells apart, all at once, conditions that cannot be true from those that may be.

    A condition is true in three-valued logic exactly where its parts that matter are known and true; that can be
    written as Python without a look at which features are unknown, and so all conditions of a pack are one function.

    Args:
        conditions: what `Checker` accepts.

    >>> sieve = Sieve([Condition("c > 0.1 && R < 0.15"), Condition("c > 0.1 || R < 0.15"), Condition("!known(R)")])
    >>> sieve.may_hold({"c": 0.2, "R": None})
    [1, 2]
    """

    def __init__(self, conditions: Sequence[Condition]) -> None:
        names = dict.fromkeys(name for condition in conditions for name in ex.reads(condition.tree))
        self._names = tuple(names)
        # Two names at least, for with one of them an itemgetter gives no tuple.
        self._get = itemgetter(*self._names) if len(self._names) > 1 else None
        truths = [_truth(condition.tree, True) for condition in conditions]
        # A division by zero leaves the whole unknown, also behind a part that settles it.
        divided = [_has_division(condition.tree) for condition in conditions]
        self._exact = frozenset(at for at, truth in enumerate(truths) if truth is not None and not divided[at])
        parts: list[ast.expr] = [truth or ast.Constant(True) for truth in truths]
        parameters = [ast.arg(name) for name in self._names]
        arguments = ast.arguments(posonlyargs=[], args=parameters, kwonlyargs=[], kw_defaults=[], defaults=[])
        whole = ast.Expression(ast.Lambda(arguments, ast.List(parts, ast.Load())))
        code = compile(ast.fix_missing_locations(whole), "<rules>", "eval")
        self._all: Callable[..., list[Any]] = eval(code, {"__builtins__": {}})  # of our own AST, no text of a user
        self._every = list(range(len(parts)))

    def may_hold(self, values: Mapping[str, Value]) -> list[int]:
        """The places of the conditions that may be true for these features; every other one is not.

        Args:
            values: every feature that a condition reads.
        """
        try:
            cells = self._get(values) if self._get is not None else [values[name] for name in self._names]
            found = self._all(*cells)
        except (ArithmeticError, TypeError):
            # A division by zero in one of them: each has to be looked at by itself.
            return self._every
        return [place for place, true in enumerate(found) if true] if any(found) else []

    def settles(self, place: int, held: Sequence[int]) -> bool:
        """Whether the condition there is true if it is among those that may be, and only then.

        Args:
            place: of the condition.
            held: what `may_hold` returned.
        """
        return held is not self._every and place in self._exact


def _truth(node: ex.Node, wanted: bool) -> ast.expr | None:
    """Whether the node is known to be as wanted; None where that cannot be written without a look at each case."""
    if isinstance(node, ex.Truth):
        return ast.Constant(node.value is wanted)
    if isinstance(node, ex.Known):
        return _is_known(node.name) if wanted else ast.UnaryOp(ast.Not(), _is_known(node.name))
    if isinstance(node, ex.Unary) and node.op == "!":
        return _truth(node.operand, not wanted)
    if isinstance(node, ex.Binary) and node.op in ("&&", "||"):
        left, right = _truth(node.left, wanted), _truth(node.right, wanted)
        if left is None or right is None:
            return None
        both = (node.op == "&&") is wanted
        return ast.BoolOp(ast.And() if both else ast.Or(), [left, right])
    if isinstance(node, ex.Name) or (isinstance(node, ex.Binary) and node.op in COMPARE):
        if _has_logic(node):
            return None
        plain = as_python(node, local=True)
        known: list[ast.expr] = [_is_known(name) for name in ex.names(node)]
        told = plain if wanted else ast.UnaryOp(ast.Not(), plain)
        return ast.BoolOp(ast.And(), [*known, told]) if known else told
    return None


def _has_logic(node: ex.Node) -> bool:
    """Whether an "and" or "or" is in it: of these one side may be unknown and the whole is known."""
    if isinstance(node, ex.Unary):
        return _has_logic(node.operand)
    if isinstance(node, ex.Binary):
        return node.op in ("&&", "||") or _has_logic(node.left) or _has_logic(node.right)
    return False


def _has_division(node: ex.Node) -> bool:
    if isinstance(node, ex.Unary):
        return _has_division(node.operand)
    return isinstance(node, ex.Binary) and (node.op == "/" or _has_division(node.left) or _has_division(node.right))


def _is_known(name: str) -> ast.expr:
    return ast.Compare(ast.Name(name, ast.Load()), [ast.IsNot()], [ast.Constant(None)])
