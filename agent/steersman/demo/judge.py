"""Whether a demo came out as it should: the cause named right, and the steered twin better for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

GOOD_LR = 3e-3
"""The best of a sweep of the task, 900 steps, seed 1: 1e-3 ends at 1.82, 3e-3 at 1.58, 1e-2 at 1.70 nats."""

HARM = 0.15
"""Nats of final loss above the run at the good LR from which a learning rate counts as wrong."""

NOT_KNOWN = "not known"
"""What a learning rate is for the job where a run broke off."""

CLEARLY = 0.1
"""Nats by which the steered twin has to end below the watched one."""


@dataclass(frozen=True)
class Outcome:
    """What came of one of the demo's runs.

    Attributes:
        job: its name.
        final_loss: mean of the last 50 losses; None where it is not finite or the job did not run to its end.
        verdict: the verdict that mattered: the first that names a cause, else the last one.
        headline: the same in words.
        diagnosed_step: step at which the first finding behind that verdict fired; None where nothing fired.
        lr_is_the_lever: as the diagnosis says.
        loud: names of the rules of warning or critical severity that fired.
        adjustments: one sentence for each adjustment.
        completed: whether it ran to its end.
    """

    job: str
    final_loss: float | None
    verdict: str
    headline: str
    diagnosed_step: int | None = None
    lr_is_the_lever: bool | None = None
    loud: Sequence[str] = ()
    adjustments: Sequence[str] = ()
    completed: bool = True


@dataclass(frozen=True)
class Judgement:
    """The demo's last word.

    Attributes:
        passed: whether the exit code is 0.
        expected: what the run at the good LR says about the LR that was asked for: too high, too low, right, or not
            known.
        reasons: sentences, one a line.
    """

    passed: bool
    expected: str
    reasons: tuple[str, ...]


def expected_cause(lr: float, watched: float | None, good: float | None) -> str:
    """What is wrong with `lr`, told by the end of the untouched run and not by any rule.

    Returns:
        "too high", "too low" or "right". Values that cost less than `HARM` nats are right.
    """
    if good is None:
        return "right"
    harmful = watched is None or watched > good + HARM
    if not harmful:
        return "right"
    return "too high" if lr > GOOD_LR else "too low"


def judge(lr: float, watched: Outcome, steered: Outcome, good: Outcome) -> Judgement:
    """Compare what was said and done with what was right.

    >>> healthy = Outcome("x", 2.0, "healthy", "healthy")
    >>> judge(GOOD_LR, healthy, healthy, healthy).passed
    True
    """
    expected = expected_cause(lr, watched.final_loss, good.final_loss)
    reasons: list[str] = []
    passed = True

    def check(holds: bool, sentence: str) -> None:
        nonlocal passed
        passed = passed and holds
        reasons.append(("ok    " if holds else "wrong ") + sentence)

    for run in (watched, steered, good):
        if not run.completed:
            check(False, f"{run.job} broke off before its end: nothing can be told by it")
    if not passed:
        return Judgement(passed, NOT_KNOWN, tuple(reasons))
    check(good.final_loss is not None, f"the run at the good LR ended at {_loss(good):.3f}")
    check(not good.loud, f"the run at the good LR {GOOD_LR:g} raised " + (", ".join(good.loud) or "no alarm"))
    if expected == "right":
        check(not watched.loud, f"LR {lr:g} costs nothing here, and raised " + (", ".join(watched.loud) or "no alarm"))
        check(not steered.adjustments, f"{len(steered.adjustments)} adjustments were made, none was needed")
        return Judgement(passed, expected, tuple(reasons))

    wanted = "lr_too_high" if expected == "too high" else "lr_too_low"
    for twin in (watched, steered):
        by_lever = expected == "too high" and twin.verdict in {"diverged", "nonfinite"} and twin.lr_is_the_lever is True
        check(
            twin.verdict == wanted or by_lever, f"{twin.job}: the LR is {expected}; the diagnosis was '{twin.headline}'"
        )
    check(bool(steered.adjustments), f"the steered twin was adjusted {len(steered.adjustments)} times")
    gained = _loss(watched) - _loss(steered)
    check(
        gained > CLEARLY,
        f"the steered twin ended {gained:.2f} nats below the watched one (asked for: more than {CLEARLY:g})"
        if math.isfinite(gained)
        else f"the steered twin ended at {_loss(steered):g}, the watched one at {_loss(watched):g}",
    )
    return Judgement(passed, expected, tuple(reasons))


def closing(lr: float, judgement: Judgement) -> str:
    """The demo's last sentences: how it came out, then what is the matter with `lr`, which is no judgement on the demo.

    >>> closing(0.02, Judgement(False, "too high", ("wrong the steered twin ended no lower",)))
    'NOT as it should be: see "wrong" above. By its runs the learning rate 0.02 is too high for this job.'
    """
    word = "All as it should be." if judgement.passed else 'NOT as it should be: see "wrong" above.'
    if judgement.expected == NOT_KNOWN:
        return f"{word} What the learning rate {lr:g} is for this job cannot be told: a run broke off."
    return f"{word} By its runs the learning rate {lr:g} is {judgement.expected} for this job."


def _loss(outcome: Outcome) -> float:
    return math.inf if outcome.final_loss is None else outcome.final_loss
