"""How good rules are on labelled runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steersman.rules.backtest.interval import PerThousand, Share
from steersman.rules.backtest.labels import QUIET, Label
from steersman.rules.backtest.outcome import Outcome
from steersman.rules.packs import Pack
from steersman.rules.verdict import Verdict

Judged = tuple[Outcome, Label]


@dataclass(frozen=True)
class Score:
    """Figures of one rule, or of one verdict of the diagnosis.

    Attributes:
        name: of the rule or verdict.
        verdict: what it speaks for.
        precision: of the runs on which it spoke, those of which its verdict is right.
        recall: of the runs that were labelled with its verdict, those on which it spoke.
        healthy_runs: of the healthy runs, those on which it spoke.
        healthy_steps: how often it began to speak on healthy runs, per 1,000 of their optimizer steps.
        healthy_points: the same per 1,000 of their rows.
        delays: steps from the onset to the first time it spoke, for each run of which it was right and whose onset is
            known; below zero where it spoke first.
    """

    name: str
    verdict: Verdict
    precision: Share
    recall: Share
    healthy_runs: Share
    healthy_steps: PerThousand
    healthy_points: PerThousand
    delays: tuple[int, ...]

    @property
    def delay(self) -> float | None:
        """The median of the delays; None where there is none."""
        return statistics.median(self.delays) if self.delays else None


def right(label: Label, verdict: Verdict) -> bool:
    """Whether a verdict is right of a run: on a healthy one, whether it raises no alarm."""
    return verdict in label.right or (label.healthy and verdict in QUIET)


def score_rules(judged: Sequence[Judged], pack: Pack) -> list[Score]:
    """One score a rule, from what fired at any time, in the order of the pack."""

    def spoke(rule: str) -> Callable[[Outcome], tuple[int, ...]]:
        return lambda outcome: outcome.fired.get(rule, ())

    return [_score(judged, r.name, r.verdict, spoke(r.name)) for r in pack.rules]


def score_verdicts(judged: Sequence[Judged]) -> list[Score]:
    """One score a verdict that was labelled or said, from the diagnosis at the end of each run."""

    def spoke(verdict: Verdict) -> Callable[[Outcome], tuple[int, ...]]:
        def steps(outcome: Outcome) -> tuple[int, ...]:
            return outcome.named.get(verdict, ()) if outcome.verdict is verdict else ()

        return steps

    there = {label.verdict for _, label in judged} | {outcome.verdict for outcome, _ in judged}
    return [_score(judged, v.value, v, spoke(v)) for v in Verdict if v in there - QUIET]


def accuracy(judged: Sequence[Judged]) -> tuple[Share, Share]:
    """Of the faulty runs those named rightly, and of the healthy ones those on which no alarm was raised."""
    faulty = [(o, label) for o, label in judged if label.verdict not in QUIET]
    healthy = [(o, label) for o, label in judged if label.healthy]
    return (
        Share(sum(right(label, o.verdict) for o, label in faulty), len(faulty)),
        Share(sum(right(label, o.verdict) for o, label in healthy), len(healthy)),
    )


def _score(judged: Sequence[Judged], name: str, verdict: Verdict, spoke: Callable[[Outcome], tuple[int, ...]]) -> Score:
    said = [(o, label, steps) for o, label in judged if (steps := spoke(o))]
    meant = [o for o, label in judged if label.verdict is verdict]
    healthy = [o for o, label in judged if label.healthy]
    alarms = sum(len(spoke(o)) for o in healthy)
    return Score(
        name=name,
        verdict=verdict,
        precision=Share(sum(verdict in label.right for _, label, _ in said), len(said)),
        recall=Share(sum(bool(spoke(o)) for o in meant), len(meant)),
        healthy_runs=Share(sum(bool(spoke(o)) for o in healthy), len(healthy)),
        healthy_steps=PerThousand(alarms, sum(o.steps for o in healthy)),
        healthy_points=PerThousand(alarms, sum(o.points for o in healthy)),
        delays=tuple(
            steps[0] - label.onset for _, label, steps in said if label.onset is not None and verdict in label.right
        ),
    )
