"""What is written of a series: pieces that follow each other, and marks laid on them."""

from __future__ import annotations

from dataclasses import dataclass

SHAPES = ("linear", "log", "power", "cosine")
MARKS = ("noise", "spike", "wave", "value", "nan", "inf", "-inf", "gap", "every")


@dataclass(frozen=True)
class Noise:
    """Random scatter: `relative` multiplies by e to the power of it, otherwise it is added."""

    size: float
    relative: bool


@dataclass(frozen=True)
class Place:
    """The steps from `first` to `last`, both included; None is the whole series."""

    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Trend:
    """A stretch of the series; what is None follows from what stands before it, or from the length of the case.

    Attributes:
        start: first value.
        end: last value; None stays at `start`.
        steps: how long.
        shape: one of `SHAPES`.
        noise: on this stretch alone.
    """

    start: float | None
    end: float | None
    steps: int | None
    shape: str = "linear"
    noise: Noise | None = None


@dataclass(frozen=True)
class Values:
    """Values row by row; None is a row without one."""

    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Scatter:
    """Noise on the whole series or a place of it."""

    noise: Noise
    place: Place = Place()


@dataclass(frozen=True)
class Wave:
    """A sine laid on the series."""

    noise: Noise
    period: int
    place: Place = Place()


@dataclass(frozen=True)
class Spike:
    """Values multiplied or moved for a while."""

    factor: float
    plus: float
    place: Place


@dataclass(frozen=True)
class Override:
    """Values replaced for a while."""

    value: float
    place: Place


@dataclass(frozen=True)
class Gap:
    """Rows without a value."""

    place: Place


@dataclass(frozen=True)
class Every:
    """The series has a value only every so many steps, first at `first`."""

    steps: int
    first: int


Piece = Trend | Values
Mark = Scatter | Wave | Spike | Override | Gap | Every


@dataclass(frozen=True)
class Notation:
    """A series taken apart: its pieces follow each other, its marks are laid on all of them in turn."""

    pieces: tuple[Piece, ...]
    marks: tuple[Mark, ...]
