"""The part of CEL that rules may use, parsed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from steersman.rules.language.words import NUMBER, LanguageError, Word, words

MAX_CHARS = 2048
MAX_NODES = 200

_WORD = re.compile(rf"(?P<number>{NUMBER})|(?P<name>[A-Za-z_][A-Za-z_0-9]*)|(?P<op>&&|\|\||<=|>=|==|!=|[-+*/()<>!])")
_ALLOWED = (
    "an expression has features, numbers, true, false, known(feature), && || ! < <= > >= == != + - * / and parentheses"
)


@dataclass(frozen=True)
class Number:
    """A literal."""

    value: float


@dataclass(frozen=True)
class Truth:
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True)
class Name:
    """A feature."""

    name: str


@dataclass(frozen=True)
class Known:
    """`known(feature)`: whether the feature has a value."""

    name: str


@dataclass(frozen=True)
class Unary:
    """`!x` or `-x`."""

    op: str
    operand: Node


@dataclass(frozen=True)
class Binary:
    """Everything with two sides."""

    op: str
    left: Node
    right: Node


Node = Number | Truth | Name | Known | Unary | Binary

_POWER = {"||": 1, "&&": 2, "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4, "+": 5, "-": 5, "*": 6, "/": 6}
_RESERVED = (
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "in", "let", "loop", "namespace",
    "null", "package", "return", "var", "void", "while",
)  # fmt: skip
_MEANT = {"and": "write &&", "or": "write ||", "not": "write !"}


def parse(source: str) -> Node:
    """Parse an expression.

    >>> parse("c > 0.1 && !warmup").op
    '&&'

    Raises:
        LanguageError: where it is not of the allowed part of CEL.
    """
    if len(source) > MAX_CHARS:
        raise LanguageError(0, f"an expression may have {MAX_CHARS} characters, this one has {len(source)}")
    return _Parser(source).whole()


def names(node: Node) -> list[str]:
    """The features that an expression reads, each once, in order.

    >>> names(parse("c > 0.1 && t_c > 3.0 && c < 0.5"))
    ['c', 't_c']
    """
    found: dict[str, None] = {}
    stack = [node]
    while stack:
        n = stack.pop()
        if isinstance(n, Name):
            found[n.name] = None
        elif isinstance(n, Unary):
            stack.append(n.operand)
        elif isinstance(n, Binary):
            stack += [n.right, n.left]
    return list(found)


def reads(node: Node) -> list[str]:
    """All features that an expression looks at: those that it only asks about included, as often as it does.

    >>> reads(parse("known(c) && c > 0.1"))
    ['c', 'c']
    """
    if isinstance(node, Name | Known):
        return [node.name]
    if isinstance(node, Unary):
        return reads(node.operand)
    return [*reads(node.left), *reads(node.right)] if isinstance(node, Binary) else []


def size(node: Node) -> int:
    """How many names, numbers and operators it has.

    >>> size(parse("c > 0.1 && known(t_c)"))
    5
    """
    count, stack = 0, [node]
    while stack:
        n = stack.pop()
        count += 1
        if isinstance(n, Unary):
            stack.append(n.operand)
        elif isinstance(n, Binary):
            stack += [n.right, n.left]
    return count


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.words: list[Word] = []
        self.k = 0
        self.nodes = 0

    def whole(self) -> Node:
        self.words = list(words(self.source, _WORD, _ALLOWED))
        node = self.binary(1, 0)
        if self.k < len(self.words):
            word = self.words[self.k]
            hint = _MEANT.get(word.text, "expected && or || or an operator")
            raise LanguageError(word.at, f"found {word.text!r} after the end of the expression: {hint}")
        return node

    def peek(self) -> str:
        return self.words[self.k].text if self.k < len(self.words) else ""

    def grow(self, at: int) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise LanguageError(at, f"an expression may have {MAX_NODES} parts")

    def binary(self, least: int, depth: int) -> Node:
        left = self.unary(depth)
        while self.k < len(self.words):
            op = self.words[self.k]
            power = _POWER.get(op.text, 0)
            if power < least:
                break
            self.k += 1
            self.grow(op.at)
            left = Binary(op.text, left, self.binary(power + 1, depth + 1))
        return left

    def unary(self, depth: int) -> Node:
        if self.k >= len(self.words):
            raise LanguageError(max(len(self.source.rstrip()) - 1, 0), "the expression ends where a value is expected")
        found = self.words[self.k]
        word, at, kind = found.text, found.at, found.kind
        self.k += 1
        self.grow(at)
        if depth > 30:
            raise LanguageError(at, "nested deeper than 30, which is the most allowed")
        if kind == "number":
            return self.number(word, at)
        if word in ("!", "-"):
            return Unary(word, self.unary(depth + 1))
        if word == "(":
            node = self.binary(1, depth + 1)
            self.close(at)
            return node
        if kind == "name":
            if word in ("true", "false"):
                return Truth(word == "true")
            if self.peek() == "(":
                return self.call(word, at)
            if word in _RESERVED:
                raise LanguageError(at, f"{word!r} is a word of CEL itself and no feature")
            return Name(word)
        raise LanguageError(at, f"found {word!r} where a value is expected")

    def number(self, word: str, at: int) -> Number:
        whole, dot, rest = word.partition(".")
        if dot and not rest[:1].isdigit():
            raise LanguageError(at, f"a digit is missing after the point: write {whole}.0{rest}, not {word}")
        if not math.isfinite(float(word)):
            raise LanguageError(at, f"{word!r} is too large for a number")
        return Number(float(word))

    def call(self, word: str, at: int) -> Node:
        if word != "known":
            raise LanguageError(at, f"function {word!r} is not allowed: known(feature) is the only one")
        self.k += 1
        name = self.words[self.k] if self.k < len(self.words) else Word("", at)
        if name.kind != "name":
            raise LanguageError(name.at, "known() takes the name of one feature")
        self.k += 1
        if self.peek() not in ("", ")"):
            raise LanguageError(
                self.words[self.k].at, f"known() takes the name of one feature, found {self.peek()!r} after it"
            )
        self.close(at)
        return Known(name.text)

    def close(self, at: int) -> None:
        if self.peek() != ")":
            raise LanguageError(at, "this parenthesis is not closed")
        self.k += 1
