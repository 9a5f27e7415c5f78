"""What is wrong in a rule file, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong in a rule file.

    Attributes:
        file: as it was given.
        line: from 1.
        column: from 1.
        rule: name of the rule (or test case) it is in, empty where it is in none.
        text: what was found and what is allowed.
        within: what `rule` names.
    """

    file: str
    line: int
    column: int
    rule: str
    text: str
    within: str = "rule"

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        return where + (f"{self.within} {self.rule}: " if self.rule else "") + self.text


class PackError(Exception):
    """Rule files that cannot be used; carries every mistake at once.

    Attributes:
        mistakes: in the order of the files and of their lines.
    """

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = tuple(mistakes)
