from __future__ import annotations

from dataclasses import replace

from tests.tui import scenes

from steersman.tui.board import Board
from steersman.tui.curves import marks
from steersman.tui.feed import Connected, JobUpdate, Lost, Ready


def board(*updates: object) -> Board:
    made = Board()
    for update in updates:
        made.apply(update)  # type: ignore[arg-type]  # written as updates below
    return made


def test_what_needs_attention_comes_first() -> None:
    made = board(*scenes.steered().script, *scenes.firing().script[1:])
    assert [job.name for job in made.jobs()][:3] == ["char-lm", "char-lm-steered", "char-lm-watched"]
    assert made.jobs()[-1].name == "resnet50-baseline"
    assert made.jobs("name")[0].name == "char-lm"


def test_counts_are_of_live_jobs() -> None:
    counts = board(*scenes.firing().script).counts()
    assert (counts.live, counts.ended, counts.critical, counts.warning, counts.waiting) == (2, 0, 1, 0, 1)


def test_decisions_come_before_findings_and_findings_before_what_builds_up() -> None:
    alerts = board(*scenes.firing().script).alerts()
    assert alerts[0].adjustment is not None
    assert [a.finding.state for a in alerts[1:] if a.finding] == ["firing", "firing", "pending"]
    assert [a.finding.severity for a in alerts[1:3] if a.finding] == ["critical", "warning"]


def test_after_a_loss_jobs_stay_and_those_that_went_meanwhile_go() -> None:
    made = board(*scenes.firing().script, Lost("gone", 1.0))
    assert not made.connected
    assert len(made.jobs()) == 2
    for update in (Connected(scenes.DAEMON), JobUpdate(scenes.job("vit-base-224")), Ready()):
        made.apply(update)
    assert made.connected
    assert [job.name for job in made.jobs()] == ["vit-base-224"]


def test_an_older_attempt_does_not_hide_a_newer_one() -> None:
    newer = replace(scenes.job("a"), attempt=2, attempt_id="second")
    made = board(JobUpdate(newer), JobUpdate(scenes.job("a")))
    known = made.job("a")
    assert known is not None
    assert known.attempt_id == "second"


def test_marks_are_findings_and_adjustments_that_were_laid_on() -> None:
    job = scenes.job("a", findings=scenes.FINDINGS)
    cut = scenes.proposal("a", state="kept", applied_step=900)
    found = marks(job, (cut, scenes.proposal("a")))
    assert [(mark.step, mark.sign, mark.line) for mark in found] == [
        (502, "▲", False),
        (436, "◆", False),
        (900, "↓", True),
    ]
