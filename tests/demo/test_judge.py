from __future__ import annotations

import pytest

from steersman.demo.judge import GOOD_LR, NOT_KNOWN, Outcome, closing, expected_cause, judge

GOOD = Outcome("good-lr", 2.0, "healthy", "healthy")


def hot(job: str, loss: float | None, **changed: object) -> Outcome:
    fields: dict[str, object] = {
        "verdict": "lr_too_high",
        "headline": "learning rate too high",
        "loud": ("lr_too_high",),
    }
    return Outcome(job, loss, **{**fields, **changed})  # type: ignore[arg-type]  # a table of fields


@pytest.mark.parametrize(
    ("lr", "watched", "expected"),
    [
        (0.1, 3.1, "too high"),
        (0.1, None, "too high"),
        (0.1, 2.1, "right"),
        (1e-5, 3.1, "too low"),
        (GOOD_LR, 2.0, "right"),
    ],
)
def test_the_cause_is_told_by_the_end_of_the_untouched_run(lr: float, watched: float | None, expected: str) -> None:
    assert expected_cause(lr, watched, 2.0) == expected


def test_a_hot_twin_that_was_cut_and_ended_lower_passes() -> None:
    result = judge(0.1, hot("hot-watched", 3.1), hot("hot-steered", 2.6, adjustments=("scale 0.0625, kept",)), GOOD)
    assert result.passed, result.reasons


@pytest.mark.parametrize(
    ("watched", "steered", "good"),
    [
        (hot("w", 3.1), hot("s", 3.05, adjustments=("scale",)), GOOD),  # no better
        (hot("w", 3.1), hot("s", 2.6), GOOD),  # better by luck: nothing was changed
        (hot("w", 3.1, verdict="plateau"), hot("s", 2.6, adjustments=("scale",)), GOOD),  # the wrong cause
        (hot("w", 3.1, verdict="diverged", lr_is_the_lever=None), hot("s", 2.6, adjustments=("scale",)), GOOD),
        (hot("w", 3.1), hot("s", 2.6, adjustments=("scale",)), hot("good-lr", 2.0)),  # cried wolf on the good run
    ],
)
def test_what_is_not_as_it_should_be_fails(watched: Outcome, steered: Outcome, good: Outcome) -> None:
    assert not judge(0.1, watched, steered, good).passed


def test_at_the_good_lr_any_alarm_or_adjustment_fails() -> None:
    quiet = Outcome("w", 2.0, "healthy", "healthy")
    assert judge(GOOD_LR, quiet, quiet, GOOD).passed
    assert not judge(GOOD_LR, quiet, Outcome("s", 2.0, "healthy", "healthy", adjustments=("scale 0.5",)), GOOD).passed
    assert not judge(GOOD_LR, Outcome("w", 2.0, "spike", "spike", loud=("spike",)), quiet, GOOD).passed


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_run_that_breaks_off_fails_whichever_it_is(which: int) -> None:
    runs = [Outcome(job, 2.0, "healthy", "healthy") for job in ("hot-watched", "hot-steered", "good-lr")]
    assert judge(GOOD_LR, *runs).passed
    runs[which] = Outcome(runs[which].job, None, "undetermined", "undetermined", completed=False)
    result = judge(GOOD_LR, *runs)
    assert (result.passed, result.expected) == (False, NOT_KNOWN)
    assert runs[which].job in result.reasons[0]


def test_a_good_run_without_a_finite_end_proves_nothing() -> None:
    quiet = Outcome("w", 2.0, "healthy", "healthy")
    assert not judge(GOOD_LR, quiet, quiet, Outcome("good-lr", None, "healthy", "healthy")).passed


def test_the_last_words_tell_how_the_demo_came_out_and_what_the_lr_is_apart() -> None:
    right_but_too_little = judge(0.02, hot("w", 3.1), hot("s", 3.05, adjustments=("scale",)), GOOD)
    assert closing(0.02, right_but_too_little) == (
        'NOT as it should be: see "wrong" above. By its runs the learning rate 0.02 is too high for this job.'
    )
    cut = judge(0.1, hot("w", 3.1), hot("s", 2.6, adjustments=("scale",)), GOOD)
    assert closing(0.1, cut) == "All as it should be. By its runs the learning rate 0.1 is too high for this job."
    broken = judge(0.1, hot("w", None, completed=False), hot("s", 2.6), GOOD)
    assert closing(0.1, broken).endswith("What the learning rate 0.1 is for this job cannot be told: a run broke off.")
