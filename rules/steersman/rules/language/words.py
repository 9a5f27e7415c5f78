"""The words of a small language, each with its place: what expressions and written series have in common."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
"""A number without a sign."""


class LanguageError(ValueError):
    """Something written that cannot be understood.

    Attributes:
        at: offset in characters.
        text: what was found and what is allowed.
    """

    def __init__(self, at: int, text: str) -> None:
        super().__init__(text)
        self.at = at
        self.text = text


@dataclass(frozen=True)
class Word:
    """One word.

    Attributes:
        text: as it is written.
        at: offset in characters.
        kind: name of the group of the pattern that it matched, empty where it has none.
    """

    text: str
    at: int
    kind: str = ""


def words(source: str, pattern: re.Pattern[str], allowed: str = "") -> Iterator[Word]:
    """The words of a source; blanks may stand between them.

    Args:
        source: what was written.
        pattern: matches any one word.
        allowed: what may be written, for the error.

    >>> [w.text for w in words("c > 0.1", re.compile(rf"{NUMBER}|[a-z]+|[<>]"))]
    ['c', '>', '0.1']

    Raises:
        LanguageError: where no word begins.
    """
    at, end = 0, len(source)
    while at < end:
        if source[at].isspace():
            at += 1
            continue
        found = pattern.match(source, at)
        if found is None:
            raise LanguageError(at, f"{source[at]!r} is not allowed: {allowed}")
        yield Word(found[0], at, found.lastgroup or "")
        at = found.end()
