"""A backtest as tables, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from steersman.cli.words import plural

if TYPE_CHECKING:
    from steersman.rules.backtest.backtest import Backtest
    from steersman.rules.backtest.compare import Comparison, Difference
    from steersman.rules.backtest.interval import PerThousand, Share
    from steersman.rules.backtest.score import Score


def tables(backtest: Backtest) -> Iterator[RenderableType]:
    """All there is to print, in order."""
    judged = backtest.judged()
    yield Text(f"{plural(len(backtest.trials), 'run')}, {len(judged)} of them labelled")
    if judged:
        yield from _accuracy(backtest)
        yield Text("\nEach rule, where it fired at any time", style="bold")
        yield _scores(backtest.rule_scores(), "RULE")
        yield Text("\nEach verdict, as the diagnosis stood at the end", style="bold")
        yield _scores(backtest.verdict_scores(), "VERDICT")
        yield Text(
            "\nk/n, in brackets the exact 95 % interval. false alarms: healthy runs on which it spoke, and how often "
            "it began to per 1,000 of their steps. delay: median steps from the labelled onset."
        )
    else:
        yield _counts(backtest)
    comparison = backtest.comparison()
    if comparison is not None:
        yield from _compared(comparison)


def as_object(backtest: Backtest) -> dict[str, Any]:
    """The documented shape of `rules backtest --json`."""
    comparison = backtest.comparison()
    return {
        "runs": len(backtest.trials),
        "labelled": len(backtest.judged()),
        "unreadable": [{"source": s, "error": e} for s, e in backtest.unreadable.items()],
        "unmatched_labels": backtest.unmatched,
        **_set(backtest, second=False),
        "against": _set(backtest, second=True) if comparison is not None else None,
        "comparison": _comparison(comparison) if comparison is not None else None,
        "each": [
            {
                "source": t.outcome.source,
                "run": t.outcome.name,
                "steps": t.outcome.steps,
                "points": t.outcome.points,
                "label": t.label.verdict.value if t.label else None,
                "verdict": t.outcome.verdict.value,
                "fired": {rule: list(steps) for rule, steps in t.outcome.fired.items()},
            }
            for t in backtest.trials
        ],
    }


def _set(backtest: Backtest, second: bool) -> dict[str, Any]:
    from steersman.rules.backtest.score import accuracy

    faulty, healthy = accuracy(backtest.judged(second))
    return {
        "faulty_named_rightly": _share(faulty),
        "healthy_left_alone": _share(healthy),
        "rules": {s.name: _score(s) for s in backtest.rule_scores(second)},
        "verdicts": {s.name: _score(s) for s in backtest.verdict_scores(second)},
    }


def _score(score: Score) -> dict[str, Any]:
    return {
        "verdict": score.verdict.value,
        "precision": _share(score.precision),
        "recall": _share(score.recall),
        "healthy_runs": _share(score.healthy_runs),
        "per_1000_healthy_steps": _rate(score.healthy_steps),
        "per_1000_healthy_points": _rate(score.healthy_points),
        "median_delay": score.delay,
        "delays": sorted(score.delays),
    }


def _share(share: Share) -> dict[str, Any]:
    return {"count": share.count, "total": share.total, "value": share.value, "low": share.low, "high": share.high}


def _rate(rate: PerThousand) -> dict[str, Any]:
    return {"count": rate.count, "total": rate.exposure, "value": rate.value, "low": rate.low, "high": rate.high}


def _comparison(found: Comparison) -> dict[str, Any]:
    return {
        "runs": found.runs,
        "labelled": found.labelled,
        "first_only_right": found.first_only,
        "second_only_right": found.second_only,
        "p": found.p,
        "differences": [
            {
                "source": d.first.source,
                "label": d.label.verdict.value if d.label else None,
                "verdicts": [d.first.verdict.value, d.second.verdict.value],
                "only_first_fired": sorted(set(d.first.fired) - set(d.second.fired)),
                "only_second_fired": sorted(set(d.second.fired) - set(d.first.fired)),
                "right": [None, "second", "first"][d.better],
            }
            for d in found.differences
        ],
    }


def _plain_table(columns: Sequence[str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k == 0 else "right", no_wrap=k == 0)
    return table


def _scores(scores: Sequence[Score], first: str) -> Table:
    table = _plain_table([first, "PRECISION", "RECALL", "HEALTHY RUNS", "PER 1,000 STEPS", "DELAY"])
    for s in scores:
        rate = s.healthy_steps
        per_thousand = "-" if rate.value is None else f"{rate.value:.2g} [{rate.low:.2g}, {rate.high:.2g}]"
        delay = "-" if s.delay is None else f"{s.delay:,.0f}"
        table.add_row(s.name, _of(s.precision), _of(s.recall), _of(s.healthy_runs), per_thousand, delay)
    return table


def _of(share: Share) -> str:
    if not share.total:
        return "-"
    return f"{share.count}/{share.total} [{share.low:.2f}, {share.high:.2f}]"


def _accuracy(backtest: Backtest) -> Iterator[Text]:
    from steersman.rules.backtest.score import accuracy

    for second in (False, True)[: 2 if backtest.against is not None else 1]:
        faulty, healthy = accuracy(backtest.judged(second))
        which = ("first rules: " if not second else "second rules: ") if backtest.against is not None else ""
        yield Text(f"{which}named rightly {_of(faulty)} of the faulty, left alone {_of(healthy)} of the healthy")


def _counts(backtest: Backtest) -> Table:
    table = _plain_table(["RULE", "FIRED ON RUNS", "TIMES"])
    for rule in backtest.pack.rules:
        times = [len(t.outcome.fired.get(rule.name, ())) for t in backtest.trials]
        table.add_row(rule.name, str(sum(map(bool, times))), str(sum(times)))
    return table


def _compared(found: Comparison) -> Iterator[RenderableType]:
    yield Text("\nBoth sets on the same runs", style="bold")
    if not found.differences:
        yield Text("they say the same of every run")
        return
    table = _plain_table(["RUN", "LABEL", "FIRST", "SECOND", "RIGHT", "FIRED"])
    for d in found.differences:
        label = d.label.verdict.value if d.label else "-"
        right = ("-", "second", "first")[d.better]
        table.add_row(d.first.name, label, d.first.verdict.value, d.second.verdict.value, right, _fired(d))
    yield table
    if found.labelled:
        yield Text(
            f"right only under the first rules: {found.first_only}, only under the second: {found.second_only} of "
            f"{plural(found.labelled, 'labelled run')}; McNemar's exact test: p = {found.p:.3g}"
        )


def _fired(difference: Difference) -> str:
    first, second = set(difference.first.fired), set(difference.second.fired)
    return " ".join(
        [*(f"-{rule}" for rule in sorted(first - second)), *(f"+{rule}" for rule in sorted(second - first))]
    )
