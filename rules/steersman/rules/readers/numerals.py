"""Numbers as people write them: a point or a comma before the decimals, and the other one between thousands."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from steersman.rules.samples import Bools, Floats

_MISSING = {"", "-", "--", "na", "n/a", "none", "null", "nil", "?"}
_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
"""Groups of three digits behind a first one of one to three, which begins with no zero."""


class Reading(NamedTuple):
    """What a cell is with either mark before the decimals.

    Attributes:
        point: its number where a point stands before the decimals.
        comma: its number where a comma does.
        mark: the mark that stands before the decimals for certain; empty where the cell does not tell.
    """

    point: float
    comma: float
    mark: str = ""


def readings(text: str) -> Reading | None:
    """Both numbers that a cell may be, the same one where only one can be meant; None where it is no number.

    Example:
        >>> readings("1,234")
        Reading(point=1234.0, comma=1.234, mark='')
        >>> readings("1,234.5"), readings("0,512")
        (Reading(point=1234.5, comma=1234.5, mark='.'), Reading(point=0.512, comma=0.512, mark=','))
    """
    word = text.strip()
    if "_" in word or word.lower() in _MISSING:
        return None
    if "," in word:
        return _with_marks(word)
    try:
        number = float(word)
    except ValueError:
        return _with_marks(word)
    if "." not in word:
        return Reading(number, number)
    grouped = _thousands(word, ".")
    return Reading(number, number, ".") if grouped is None else Reading(number, grouped)


def _with_marks(word: str) -> Reading | None:
    """The same for a word that has a comma, or more than one point."""
    points, commas = word.count("."), word.count(",")
    if points and commas:
        mark = "." if word.rindex(".") > word.rindex(",") else ","
        other = "," if mark == "." else "."
        whole, _, decimals = word.partition(mark)
        if _thousands(whole, other) is None or other in decimals:
            return None
        return _certain(f"{whole.replace(other, '')}.{decimals}", mark)
    if points:
        return None if (grouped := _thousands(word, ".")) is None else Reading(grouped, grouped, ",")
    grouped = _thousands(word, ",") if word[-4:-3] == "," else None
    if commas > 1:
        return None if grouped is None else Reading(grouped, grouped, ".")
    decimal = _certain(word.replace(",", "."), ",")
    return decimal if grouped is None or decimal is None else Reading(grouped, decimal.comma)


def _certain(word: str, mark: str) -> Reading | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return Reading(number, number, mark)


def _thousands(word: str, mark: str) -> float | None:
    """The whole number that a word is whose thousands are parted by a mark; None where it is none."""
    if mark == ".":
        word = word.replace(",", " ").replace(".", ",")
    return float(word.replace(",", "")) if _GROUPS.fullmatch(word) else None


def as_number(text: str) -> float | None:
    """A number alone, with nothing beside it that tells what a comma is: it stands before the decimals then.

    Example:
        >>> as_number("1e-3"), as_number(" nan"), as_number("0,5"), as_number("n/a")
        (0.001, nan, 0.5, None)
    """
    read = readings(text)
    if read is None:
        return None
    return read.comma if "," in text else read.point


@dataclass
class Signs:
    """What the cells of a column tell of its marks; or those of a file.

    Attributes:
        points: cells in which a point stands before the decimals for certain.
        commas: cells in which a comma does.
        either: cells with one comma that may be either.
        largest: the largest number without a mark; -1 where there is none.
    """

    points: int = 0
    commas: int = 0
    either: int = 0
    largest: float = -1.0

    @property
    def marked(self) -> bool:
        """Whether a comma is in some number."""
        return self.commas + self.either > 0

    def add(self, other: Signs) -> None:
        """Take what other cells tell as well."""
        self.points += other.points
        self.commas += other.commas
        self.either += other.either
        self.largest = max(self.largest, other.largest)

    def mark(self, file: Signs) -> str:
        """The mark before the decimals of this column, in a file of which all columns together tell `file`."""
        if self.points != self.commas:
            return "." if self.points > self.commas else ","
        if self.either and 100 <= self.largest < 1000:
            return "."  # 0, 100, … 900, and on as 1,000
        if bool(file.points) != bool(file.commas):
            return "." if file.points else ","
        return "," if self.either else "."


@dataclass(frozen=True)
class Written:
    """The cells of a column, or of a part of it, read either way.

    Attributes:
        point: numbers where a point stands before the decimals; 0 where there is none.
        comma: numbers where a comma does.
        present: where there is a number.
        signs: what the cells tell of the marks.
    """

    point: Floats
    comma: Floats
    present: Bools
    signs: Signs


def read_cells(cells: Sequence[str]) -> Written:
    """Read cells as they are written; an empty one is no number."""
    point, comma, present = [], [], []
    signs = Signs()
    marks = {".": 0, ",": 0}
    for cell in cells:
        read = readings(cell) if cell else None
        present.append(read is not None)
        if read is None:
            point.append(0.0)
            comma.append(0.0)
            continue
        point.append(read.point)
        comma.append(read.comma)
        if read.mark:
            marks[read.mark] += 1
        elif "," in cell:
            signs.either += 1
        elif "." not in cell and signs.largest < abs(read.point) < math.inf:
            signs.largest = abs(read.point)
    signs.points, signs.commas = marks["."], marks[","]
    return Written(np.array(point), np.array(comma), np.array(present, dtype=np.bool_), signs)
