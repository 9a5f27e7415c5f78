"""How far a learning rate is moved at once."""

from __future__ import annotations

from collections.abc import Mapping

from steersman.rules.recommend import is_adam

Value = float | bool | None

FURTHEST = 16.0
"""The most that a rate is multiplied with at once: what default limits let through."""

SURE = 0.98
"""What the judgement must say for a raise that goes far. Of the fine jobs of tasks that were left out when it learned,
three in a hundred are beyond 0.95."""

LONGEST_R = 1.0
"""Twice the R = r sqrt(T) of tuned runs; a raise does not go further."""

LEARNED = 1.0
"""A loss that fell by so many nats is that of a job that works."""


def raised(values: Mapping[str, Value], asked: float, optimizer: str) -> float:
    """The most that a rate that is too low is multiplied with at once.

    Late in a run twice, which hurts little where it was not too low after all. In its first half, where there is time
    to look again, half of what is asked for, at most sixteen times, where the learned judgement is sure and the job was
    seen from its beginning; else four times where steps agree strongly. On the tuning half all that is asked for, at
    most 64 times, harmed 10 of 133 jobs, half of it none (`benchmarks.diagnosis.raises`); where the judgement was less
    sure, half of it harmed jobs near the best of the other half. What was learned from small jobs is not followed
    beyond theory: where a rate is a relative step, steps are made no longer than twice those of tuned runs.

    Args:
        values: the features.
        asked: the recommended rate over the present one.
        optimizer: class name.
    """
    c, t, step, p_low = values["c"], values["t_c"], values["step"], values["p_low"]
    if step is None or step >= 0.5 * float(values["horizon"] or 1000.0):
        return 2.0
    agree = c is not None and t is not None and c > 0.25 and t > 5.0
    least = 4.0 if agree else 2.0
    if p_low is None or p_low <= SURE or values["joined"] is True:
        return least
    reach = values["R_assumed"]
    most = LONGEST_R / reach if reach and is_adam(optimizer) else FURTHEST
    return max(min(0.5 * asked, most, FURTHEST), least)


def cut(values: Mapping[str, Value], broken: bool) -> float:
    """The least that a rate that is too high is multiplied with at once.

    A job that is not broken is moved by one step and then looked at again, and so is one that is but has learned much:
    it works, if badly. One that is broken may be moved again at once. On fresh seeds of the tuning half a sixteenth in
    place of this harmed 22 of 813 jobs that were acted on, this 8 of 401, and closed no more regret
    (`benchmarks.diagnosis.cuts`).
    """
    fell = values["fell"]
    return 0.5 if not broken or (fell is not None and fell > LEARNED) else 0.35
