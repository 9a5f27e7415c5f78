"""An expression made ready to be evaluated, in three-valued logic."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from steersman.rules.language import expression as ex

Value = float | bool | None

COMPARE: dict[str, type[ast.cmpop]] = {
    "<": ast.Lt, "<=": ast.LtE, ">": ast.Gt, ">=": ast.GtE, "==": ast.Eq, "!=": ast.NotEq,
}  # fmt: skip
_ARITHMETIC: dict[str, type[ast.operator]] = {"+": ast.Add, "-": ast.Sub, "*": ast.Mult, "/": ast.Div}

_Compiled = Callable[[Mapping[str, Value]], Any]

MOST_SETS = 64
"""Sets of unknown features for which an expression is kept compiled."""


class Condition:
    """Evaluates one expression: true, false, or None for *unknown* (Kleene).

    It runs as Python bytecode compiled from an AST of nothing but names, numbers and operators: once for the case that
    every feature it reads is known, and once for each set of features that was met unknown, of which a job has few.

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
        # Two names at least, for with one of them an itemgetter gives no tuple.
        self._get = itemgetter(*self.names) if len(self.names) > 1 else None
        self._fast = _compile(as_python(self.tree))
        self._partial: dict[tuple[str, ...], _Compiled] = {}
        self._thresholds: dict[str, float | None] = {}

    def evaluate(self, values: Mapping[str, Value]) -> bool | None:
        """The truth of it for these features."""
        try:
            if self._get is not None and None not in self._get(values):
                return bool(self._fast(values))
            unknown = tuple([name for name in self.names if values.get(name) is None])
            if not unknown:
                return bool(self._fast(values))
            made = self._partial.get(unknown)
            if made is None:
                made = _compile(Kleene(unknown).expression(self.tree))
                if len(self._partial) < MOST_SETS:
                    self._partial[unknown] = made
            truth = made(values)
            return None if truth is None else bool(truth)
        except KeyError:
            # Not one of these is known; nothing else is wrong with it.
            return self.evaluate({**dict.fromkeys(ex.reads(self.tree)), **values})
        except (ArithmeticError, TypeError):
            # A division by zero, or an overflow: nothing is known then.
            return None

    def threshold(self, name: str) -> float | None:
        """The number that a feature is first compared with, None where it is compared with none.

        >>> Condition("c > 0.1 && R < 0.15").threshold("R")
        0.15
        """
        if name not in self._thresholds:
            self._thresholds[name] = self._first_number(name)
        return self._thresholds[name]

    def _first_number(self, name: str) -> float | None:
        stack: list[ex.Node] = [self.tree]
        while stack:
            node = stack.pop()
            if isinstance(node, ex.Binary):
                if node.op in COMPARE and isinstance(node.left, ex.Name) and node.left.name == name:
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


def _compile(body: ast.expr) -> _Compiled:
    argument = ast.arguments(posonlyargs=[], args=[ast.arg("v")], kwonlyargs=[], kw_defaults=[], defaults=[])
    whole = ast.Expression(ast.Lambda(argument, body))
    code = compile(ast.fix_missing_locations(whole), "<rule>", "eval")
    made: _Compiled = eval(code, {"__builtins__": {}})  # of our own AST, no text of a user
    return made


class Kleene:
    """Writes an expression as Python for the case that some features are unknown.

    What is unknown from the start is folded away; where a part may or may not turn out unknown, it is kept in a name
    and looked at.

    Args:
        unknown: the features without a value.
    """

    def __init__(self, unknown: Sequence[str]) -> None:
        self.unknown = frozenset(unknown)
        self._names = 0

    def expression(self, node: ex.Node) -> ast.expr:
        """The expression: its value is True, False or None."""
        return self._part(node)[0] or ast.Constant(None)

    def _part(self, node: ex.Node) -> tuple[ast.expr | None, bool]:
        """The part, None where it is unknown whatever comes; and whether it may turn out unknown."""
        if isinstance(node, ex.Name):
            return (None, True) if node.name in self.unknown else (as_python(node), False)
        if isinstance(node, ex.Unary):
            return self._unary(node)
        if isinstance(node, ex.Binary):
            return self._logic(node) if node.op in ("&&", "||") else self._other(node)
        return as_python(node), False

    def _unary(self, node: ex.Unary) -> tuple[ast.expr | None, bool]:
        inner, maybe = self._part(node.operand)
        operator_ = ast.Not() if node.op == "!" else ast.USub()
        if inner is None or not maybe:
            return (None if inner is None else ast.UnaryOp(operator_, inner)), maybe
        kept, name = self._keep(inner)
        return ast.IfExp(_is(kept, None), ast.Constant(None), ast.UnaryOp(operator_, name)), True

    def _logic(self, node: ex.Binary) -> tuple[ast.expr | None, bool]:
        (left, left_maybe), (right, right_maybe) = self._part(node.left), self._part(node.right)
        decides = node.op == "||"  # a true part makes an "or" true, a false one an "and" false
        if left is None or right is None:
            known = left or right
            if known is None:
                return None, True
            return ast.IfExp(_is(known, decides), ast.Constant(decides), ast.Constant(None)), True
        if not (left_maybe or right_maybe):
            return ast.BoolOp(ast.Or() if decides else ast.And(), [left, right]), False
        (kept_left, one), (kept_right, other) = self._keep(left), self._keep(right)
        decided = ast.BoolOp(ast.Or(), [_is(kept_left, decides), _is(kept_right, decides)])
        open_ = ast.BoolOp(ast.Or(), [_is(one, None), _is(other, None)])
        rest = ast.IfExp(open_, ast.Constant(None), ast.Constant(not decides))
        return ast.IfExp(decided, ast.Constant(decides), rest), True

    def _other(self, node: ex.Binary) -> tuple[ast.expr | None, bool]:
        (left, left_maybe), (right, right_maybe) = self._part(node.left), self._part(node.right)
        if left is None or right is None:
            return None, True
        if not (left_maybe or right_maybe):
            return _binary(node.op, left, right), False
        (kept_left, one), (kept_right, other) = self._keep(left), self._keep(right)
        # Both are kept before either is looked at: a name that was never set would be an error.
        pair = ast.Tuple([kept_left, kept_right], ast.Load())
        open_ = ast.Compare(ast.Constant(None), [ast.In()], [pair])
        return ast.IfExp(open_, ast.Constant(None), _binary(node.op, one, other)), True

    def _keep(self, part: ast.expr) -> tuple[ast.expr, ast.expr]:
        self._names += 1
        name = f"k{self._names}"
        return ast.NamedExpr(ast.Name(name, ast.Store()), part), ast.Name(name, ast.Load())


def _is(part: ast.expr, value: bool | None) -> ast.expr:
    return ast.Compare(part, [ast.Is()], [ast.Constant(value)])


def _binary(op: str, left: ast.expr, right: ast.expr) -> ast.expr:
    if op in COMPARE:
        return ast.Compare(left, [COMPARE[op]()], [right])
    return ast.BinOp(left, _ARITHMETIC[op](), right)


def as_python(node: ex.Node, local: bool = False) -> ast.expr:
    """The expression as Python for the case that all it reads is known.

    Args:
        node: the expression.
        local: features are variables, not entries of the mapping `v`.
    """
    if isinstance(node, ex.Number | ex.Truth):
        return ast.Constant(node.value)
    if isinstance(node, ex.Name):
        return _value(node.name, local)
    if isinstance(node, ex.Known):
        return ast.Compare(_value(node.name, local), [ast.IsNot()], [ast.Constant(None)])
    if isinstance(node, ex.Unary):
        return ast.UnaryOp(ast.Not() if node.op == "!" else ast.USub(), as_python(node.operand, local))
    left, right = as_python(node.left, local), as_python(node.right, local)
    if node.op not in ("&&", "||"):
        return _binary(node.op, left, right)
    return ast.BoolOp(ast.And() if node.op == "&&" else ast.Or(), [left, right])


def _value(name: str, local: bool) -> ast.expr:
    if local:
        return ast.Name(name, ast.Load())
    return ast.Subscript(ast.Name("v", ast.Load()), ast.Constant(name), ast.Load())
