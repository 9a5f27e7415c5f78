"""From the seconds of blocks that alternated to what one way adds to a step."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

Block = list[float]
"""Seconds of each step of a block."""


@dataclass(frozen=True)
class Added:
    """What something adds to a step; percentages are of the bare step.

    Attributes:
        us: difference of medians over blocks, step by step, and the mean of that over the steps of a block.
        quartiles_us: of the differences between blocks that ran one after the other: how much the machine disturbed.
        low_us: as `us` with 10 % quantiles in place of medians, which other work on the machine disturbs least.
        percent: `us` in per cent of the bare step.
        quartiles_percent: the same of `quartiles_us`.
        low_percent: `low_us` in per cent of the 10 % quantile of the bare step.
    """

    us: float
    quartiles_us: tuple[float, float]
    low_us: float
    percent: float
    quartiles_percent: tuple[float, float]
    low_percent: float


def low(values: list[float]) -> float:
    """The 10 % quantile."""
    return sorted(values)[len(values) // 10]


def typical(blocks: list[Block], of: Callable[[list[float]], float] = statistics.median) -> float:
    """Seconds a step: `of` all blocks at each step of a block, and the mean over these.

    Blocks are alike step by step, so that what is done on every tenth step falls on the same ones.
    """
    return statistics.fmean(of(list(same)) for same in zip(*blocks, strict=True))


def compared(blocks: list[Block], bare: list[Block]) -> Added:
    """One way beside the bare loop; blocks of the same index ran one after the other. At least two of each."""
    pairs = [statistics.fmean(mine) - statistics.fmean(other) for mine, other in zip(blocks, bare, strict=True)]
    return added(
        typical(blocks) - typical(bare),
        _quartiles(pairs),
        typical(blocks, low) - typical(bare, low),
        typical(bare),
        typical(bare, low),
    )


def timed(seconds: list[float], bare: list[Block]) -> Added:
    """What was timed by itself, as seconds a step of each block."""
    return added(statistics.median(seconds), _quartiles(seconds), low(seconds), typical(bare), typical(bare, low))


def added(middle: float, quartiles: tuple[float, float], least: float, bare: float, bare_low: float) -> Added:
    """All from seconds."""
    first, third = quartiles
    return Added(
        us=middle * 1e6,
        quartiles_us=(first * 1e6, third * 1e6),
        low_us=least * 1e6,
        percent=middle / bare * 100,
        quartiles_percent=(first / bare * 100, third / bare * 100),
        low_percent=least / bare_low * 100,
    )


def _quartiles(values: list[float]) -> tuple[float, float]:
    first, _, third = statistics.quantiles(values, n=4)
    return first, third
