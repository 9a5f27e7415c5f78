"""Replays runs under one set of rules or two, and keeps what came of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from steersman.rules.backtest.compare import Comparison, compare
from steersman.rules.backtest.healthy import Counts, HealthyRun, counts
from steersman.rules.backtest.labels import Label
from steersman.rules.backtest.outcome import Outcome, outcome
from steersman.rules.backtest.score import Judged, Score, score_rules, score_verdicts
from steersman.rules.packs import Pack
from steersman.rules.recording import Recording


@dataclass(frozen=True)
class Trial:
    """One run under both sets of rules.

    Attributes:
        outcome: under the first.
        other: under the second, None where there is none.
        label: what a person says of it, None where nobody did.
    """

    outcome: Outcome
    other: Outcome | None
    label: Label | None


class Backtest:
    """A set of rules on recorded runs.

    Args:
        pack: the rules.
        against: a second set, None where there is none.

    Attributes:
        trials: the runs so far.
        unreadable: by path, why a file could not be read.
        unmatched: what labels call runs that are not there.
    """

    def __init__(self, pack: Pack, against: Pack | None = None) -> None:
        self.pack = pack
        self.against = against
        self.trials: list[Trial] = []
        self.unreadable: dict[str, str] = {}
        self.unmatched: list[str] = []

    def add(self, recording: Recording, label: Label | None) -> None:
        """Replay a run."""
        other = outcome(recording, self.against) if self.against is not None else None
        self.trials.append(Trial(outcome(recording, self.pack), other, label))

    def judged(self, second: bool = False) -> list[Judged]:
        """The runs that have a label, under the first set of rules or the second."""
        pairs = [(t.other if second else t.outcome, t.label) for t in self.trials]
        return [(o, label) for o, label in pairs if o is not None and label is not None]

    def rule_scores(self, second: bool = False) -> list[Score]:
        """One score a rule."""
        pack = self.against if second else self.pack
        return score_rules(self.judged(second), pack) if pack is not None else []

    def verdict_scores(self, second: bool = False) -> list[Score]:
        """One score a verdict."""
        return score_verdicts(self.judged(second))

    def stopped(self) -> dict[str, int]:
        """Rules that were too slow, each with the number of runs on which it was stopped."""
        outcomes = [o for t in self.trials for o in (t.outcome, t.other) if o is not None]
        return dict(Counter(rule for o in outcomes for rule in dict.fromkeys(o.stopped)))

    def healthy(self) -> tuple[int, int, dict[str, Counts]]:
        """Healthy runs, their optimizer steps, and what each rule did on those on which it could have fired."""
        found = [o for o, label in self.judged() if label.healthy]
        runs = [HealthyRun({r: len(steps) for r, steps in o.fired.items()}, o.steps, o.sight) for o in found]
        return len(found), sum(o.steps for o in found), counts(self.pack.rules, runs)

    def comparison(self) -> Comparison | None:
        """Both sets on the same runs; None where there is only one."""
        if self.against is None:
            return None
        return compare([(t.outcome, t.other, t.label) for t in self.trials if t.other is not None])
