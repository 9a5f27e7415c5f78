"""Two sets of rules on the same runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steersman.rules.backtest.interval import mcnemar
from steersman.rules.backtest.labels import Label
from steersman.rules.backtest.outcome import Outcome
from steersman.rules.backtest.score import right


@dataclass(frozen=True)
class Difference:
    """A run of which the two do not say the same.

    Attributes:
        first: what the one made of it.
        second: what the other did.
        label: what a person says, None where nobody did.
    """

    first: Outcome
    second: Outcome
    label: Label | None

    @property
    def better(self) -> int:
        """-1 where only the first is right, 1 where only the second is, 0 where neither, both or nobody knows."""
        if self.label is None:
            return 0
        return int(right(self.label, self.second.verdict)) - int(right(self.label, self.first.verdict))


@dataclass(frozen=True)
class Comparison:
    """A paired comparison.

    Attributes:
        runs: how many were compared.
        labelled: how many of them have a label.
        differences: the runs of which the two do not say the same, in verdict or in rules that fired.
        first_only: runs of which only the first is right.
        second_only: runs of which only the second is.
        p: of McNemar's exact test that neither is right more often.
    """

    runs: int
    labelled: int
    differences: tuple[Difference, ...]
    first_only: int
    second_only: int
    p: float


def compare(pairs: Sequence[tuple[Outcome, Outcome, Label | None]]) -> Comparison:
    """Compare what two sets of rules made of the same runs."""
    different = [
        Difference(a, b, label) for a, b, label in pairs if a.verdict is not b.verdict or set(a.fired) != set(b.fired)
    ]
    first_only = sum(d.better < 0 for d in different)
    second_only = sum(d.better > 0 for d in different)
    return Comparison(
        runs=len(pairs),
        labelled=sum(label is not None for *_, label in pairs),
        differences=tuple(different),
        first_only=first_only,
        second_only=second_only,
        p=mcnemar(first_only, second_only),
    )
