"""Takes a written series apart: `4.0 -> 2.0 over 300 log noise 3%, spike x3 at 250`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from steersman.rules.cases.notation import (
    MARKS,
    SHAPES,
    Every,
    Gap,
    Mark,
    Noise,
    Notation,
    Override,
    Piece,
    Place,
    Scatter,
    Spike,
    Trend,
    Values,
    Wave,
)
from steersman.rules.language.document import did_you_mean
from steersman.rules.language.words import NUMBER, LanguageError, Word, words

MAX_CHARS = 2048
MAX_ITEMS = 64
MAX_STEPS = 100_000

_NUMBER = re.compile(rf"[-+]?{NUMBER}\Z")
_RUN = re.compile(rf"(?P<start>[-+]?{NUMBER}|_)(?:(?P<step>[-+]{NUMBER})?x(?P<times>\d+))?\Z")
_RANGE = re.compile(r"(\d+)\.\.(\d+)\Z")
_WORD = re.compile(r"->|,|[^\s,]+?(?=->)|[^\s,]+")


def parse(source: str) -> tuple[Notation, list[LanguageError]]:
    """Take a series apart; every item that cannot be understood is told, not only the first.

    >>> notation, wrong = parse("4.0 -> 2.0 over 300 log noise 3% then flat for 100, spike x3 at 250 for 2")
    >>> len(notation.pieces), notation.marks
    (2, (Spike(factor=3.0, plus=0.0, place=Place(first=250, last=251)),))
    >>> [e.text for e in parse("flat 2.0 for ten, nan at 5")[1]]
    ["expected a number of steps after 'for', found 'ten'"]
    """
    if len(source) > MAX_CHARS:
        return Notation((), ()), [LanguageError(0, f"a series may have {MAX_CHARS} characters, not {len(source)}")]
    pieces: list[Piece] = []
    marks: list[Mark] = []
    wrong: list[LanguageError] = []
    items = _items(source)
    if len(items) > MAX_ITEMS:
        return Notation((), ()), [LanguageError(0, f"a series may have {MAX_ITEMS} items, not {len(items)}")]
    alone = len(items) == 1 and len(items[0]) == 1
    for k, tokens in enumerate(items):
        try:
            if not tokens:
                raise LanguageError(len(source.rstrip()), "an item is missing beside ',' or 'then'")
            if k == 0 and _is_mark(tokens):
                raise LanguageError(tokens[0].at, f"a series begins with its values, not with {tokens[0].text!r}")
            item = _Item(tokens).read(alone)
            if isinstance(item, Trend | Values):
                if wrong and not pieces:
                    continue  # what it would follow has been told already
                _follows(pieces, item, tokens[0])
                pieces.append(item)
            else:
                marks.append(item)
        except LanguageError as error:
            wrong.append(error)
    return Notation(tuple(pieces), tuple(marks)), wrong


def _items(source: str) -> list[list[Word]]:
    items: list[list[Word]] = [[]]
    for word in words(source, _WORD):
        if word.text in (",", "then"):
            items.append([])
        else:
            items[-1].append(word)
    return items


def _is_mark(tokens: list[Word]) -> bool:
    return tokens[0].text in MARKS


def _follows(pieces: list[Piece], item: Piece, token: Word) -> None:
    if not pieces and isinstance(item, Trend) and item.start is None:
        raise LanguageError(token.at, "the first piece needs a value to begin with, such as '4.0 -> 2.0' or 'flat 2.0'")
    before = pieces[-1] if pieces else None
    if isinstance(before, Trend) and before.steps is None:
        raise LanguageError(
            token.at, "the piece before this one has no length: only the last piece may go without 'over N' or 'for N'"
        )


def _finite(word: str, at: int) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise LanguageError(at, f"{word!r} is too large for a number")
    return value


class _Item:
    """Reads one item, word by word."""

    def __init__(self, tokens: list[Word]) -> None:
        self.tokens = tokens
        self.k = 0
        last = tokens[-1]
        self.end = last.at + len(last.text)

    def read(self, alone: bool) -> Piece | Mark:
        first = self.tokens[0].text
        item: Piece | Mark
        if first in _MARK_READERS:
            self.k = 1
            item = _MARK_READERS[first](self)
        elif first == "flat":
            self.k = 1
            item = self.flat()
        elif first == "->" or (len(self.tokens) > 1 and self.tokens[1].text == "->"):
            item = self.trend()
        elif alone and _NUMBER.match(first):
            self.k = 1
            item = Trend(_finite(first, self.tokens[0].at), None, None)
        else:
            item = self.values()
        if self.k < len(self.tokens):
            token = self.tokens[self.k]
            raise LanguageError(token.at, f"did not expect {token.text!r} here: separate items by ',' or 'then'")
        return item

    # ---------------------------------------------------------------- words

    def peek(self) -> str:
        return self.tokens[self.k].text if self.k < len(self.tokens) else ""

    def at(self) -> int:
        return self.tokens[self.k].at if self.k < len(self.tokens) else self.end

    def found(self) -> str:
        return f"found {self.peek()!r}" if self.peek() else "found the end"

    def number(self, after: str) -> float:
        if not _NUMBER.match(self.peek()):
            raise LanguageError(self.at(), f"expected a number after {after!r}, {self.found()}")
        value = _finite(self.peek(), self.at())
        self.k += 1
        return value

    def steps(self, after: str, least: int = 1) -> int:
        word = self.peek()
        if not word.isdecimal():
            raise LanguageError(self.at(), f"expected a number of steps after {after!r}, {self.found()}")
        if len(word) > 9 or not least <= int(word) <= MAX_STEPS:
            raise LanguageError(self.at(), f"steps after {after!r} are {least} to {MAX_STEPS}, found {word!r}")
        self.k += 1
        return int(word)

    def taken(self, word: str) -> bool:
        if self.peek() != word:
            return False
        self.k += 1
        return True

    def amount(self, after: str) -> Noise:
        word = self.peek()
        relative = word.endswith("%")
        number = word.removesuffix("%")
        if not _NUMBER.match(number) or float(number) < 0.0 or (relative and float(number) > 1000.0):
            raise LanguageError(
                self.at(), f"expected a share such as '3%' or a plain number after {after!r}, {self.found()}"
            )
        size = _finite(number, self.at())
        self.k += 1
        return Noise(size / 100.0 if relative else size, relative)

    def place(self, after: str) -> Place:
        if self.taken("at"):
            first = self.steps("at", least=0)
            length = self.steps("for") if self.taken("for") else 1
            return Place(first, first + length - 1)
        if found := _RANGE.match(self.peek()):
            if not int(found[1]) <= int(found[2]) <= MAX_STEPS:
                raise LanguageError(self.at(), f"{found[0]!r} is no range of steps up to {MAX_STEPS}")
            self.k += 1
            return Place(int(found[1]), int(found[2]))
        raise LanguageError(
            self.at(), f"expected where after {after!r}: 'at 250', 'at 250 for 10' or '250..259'; {self.found()}"
        )

    # ---------------------------------------------------------------- pieces

    def flat(self) -> Trend:
        start = None if self.peek() in ("", "for", "noise") else self.number("flat")
        length = self.steps("for") if self.taken("for") else None
        return Trend(start, None, length, noise=self.own_noise())

    def trend(self) -> Trend:
        start = None if self.peek() == "->" else self.number("the start")
        self.k += 1
        end = self.number("->")
        length = self.steps("over") if self.taken("over") else None
        at, shape = self.at(), self.peek()
        if shape in SHAPES:
            self.k += 1
        elif shape and shape != "noise":
            hint = did_you_mean(shape, (*SHAPES, "over", "noise"))
            raise LanguageError(
                at, f"did not expect {shape!r}{hint}: after a trend come 'over N', one of {', '.join(SHAPES)}, 'noise'"
            )
        else:
            shape = "linear"
        if shape in ("log", "power") and (end <= 0.0 or (start is not None and start <= 0.0)):
            raise LanguageError(at, f"a trend of the shape {shape!r} runs between numbers above zero")
        return Trend(start, end, length, shape, self.own_noise())

    def own_noise(self) -> Noise | None:
        return self.amount("noise") if self.taken("noise") else None

    def values(self) -> Values:
        out: list[float | None] = []
        for token in self.tokens:
            found = _RUN.match(token.text)
            if found is None:
                allowed = ("flat", "then", *MARKS)
                if token.text in allowed:
                    raise LanguageError(token.at, f"{token.text!r} stands alone: what should follow it is missing")
                raise LanguageError(
                    token.at,
                    f"did not understand {token.text!r}{did_you_mean(token.text, allowed)}: an item is 'flat A for N', "
                    f"'A -> B over N', values such as '4.0 3.9' or '1+2x5', or one of {', '.join(MARKS)}",
                )
            # As in promtool, `1+2x5` are the first value and five more, and `_x5` five rows without one.
            times = int((found["times"] or "0")[:9])
            if len(out) + times > MAX_STEPS:
                raise LanguageError(token.at, f"a series may have {MAX_STEPS} values")
            if found["start"] == "_":
                out += [None] * (times if found["times"] else 1)
            else:
                start, step = _finite(found["start"], token.at), _finite(found["step"] or "0", token.at)
                out += [start + step * k for k in range(times + 1)]
            self.k += 1
        return Values(tuple(out))

    # ---------------------------------------------------------------- marks

    def noise(self) -> Scatter:
        amount = self.amount("noise")
        return Scatter(amount, self.place("noise") if self.peek() else Place())

    def wave(self) -> Wave:
        amount = self.amount("wave")
        if not self.taken("every"):
            raise LanguageError(self.at(), f"expected 'every N', the length of a wave in steps, {self.found()}")
        period = self.steps("every", least=2)
        return Wave(amount, period, self.place("wave") if self.peek() else Place())

    def spike(self) -> Spike:
        at, word = self.at(), self.peek()
        number = word[1:] if word[:1] == "x" else word
        if not _NUMBER.match(number) or word[:1] not in ("x", "+", "-"):
            raise LanguageError(at, f"expected 'x3' (times three) or '+0.5' after 'spike', {self.found()}")
        size = _finite(number, at)
        self.k += 1
        times = word[0] == "x"
        return Spike(size if times else 1.0, 0.0 if times else size, self.place("spike"))

    def value(self) -> Override:
        number = self.number("value")
        return Override(number, self.place("value"))

    def override(self) -> Override:
        word = self.tokens[0].text
        return Override(float(word), self.place(word))

    def gap(self) -> Gap:
        return Gap(self.place("gap"))

    def every(self) -> Every:
        steps = self.steps("every")
        return Every(steps, self.steps("from", least=0) if self.taken("from") else steps)


_MARK_READERS: dict[str, Callable[[_Item], Mark]] = {
    "noise": _Item.noise,
    "spike": _Item.spike,
    "wave": _Item.wave,
    "value": _Item.value,
    "nan": _Item.override,
    "inf": _Item.override,
    "-inf": _Item.override,
    "gap": _Item.gap,
    "every": _Item.every,
}
