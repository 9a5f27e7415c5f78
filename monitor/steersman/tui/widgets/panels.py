"""Panels of text: what the daemon makes of a job, in words."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.widgets import Static

from steersman.cli import views
from steersman.cli.render import clock, how_it_ended, read_back, what
from steersman.cli.words import count, effect, factor, number, percent
from steersman.tui.palette import (
    ADJUSTMENT_COLOURS,
    ADJUSTMENT_SIGNS,
    CRITICAL,
    DIM,
    GOOD,
    NOTICE,
    SEVERITY_COLOURS,
    SEVERITY_SIGNS,
    STATE_COLOURS,
)


class Panel(Static):
    """A titled text that is written again only when it has changed."""

    def __init__(self, title: str, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self.border_title = title
        self._said: Text | None = None

    def say(self, text: Text) -> None:
        """Shows `text`."""
        # Text compares by characters only, and a change of colour alone matters too
        if self._said is None or self._said != text or self._said.spans != text.spans:
            self._said = text
            self.update(text)


def headline(job: views.Job) -> Text:
    """One line: what is wrong, or that nothing is."""
    diagnosis, severity = job.diagnosis, job.severity
    if diagnosis is None:
        return Text("no diagnosis yet", DIM)
    if severity is None:
        calm = f"bold {GOOD}" if diagnosis.verdict == "healthy" else "bold"
        sign = "✓ " if diagnosis.verdict == "healthy" else ""
        return Text().append(f"{sign}{diagnosis.headline}", calm).append(f"  {percent(diagnosis.confidence)}", DIM)
    colour = SEVERITY_COLOURS.get(severity, NOTICE)
    text = Text().append(f"{SEVERITY_SIGNS.get(severity, '▲')} {diagnosis.headline}", f"bold {colour}")
    text.append(f"  {severity}, {percent(diagnosis.confidence)} sure", DIM)
    return text


def diagnosis_text(job: views.Job) -> Text:
    """The diagnosis: in words first, then the value to use, then why."""
    text = headline(job)
    diagnosis = job.diagnosis
    if diagnosis is None:
        return text
    if diagnosis.onset_step is not None:
        text.append(f" · since step {count(diagnosis.onset_step)}", DIM)
    if (lr := diagnosis.recommended_lr) is not None:
        text.append("\nuse LR ", DIM).append(number(lr.value, 3), f"bold {GOOD}")
        text.append(f"  ({number(lr.low, 3)} … {number(lr.high, 3)})", DIM)
        if job.lr is not None:
            text.append(f", it is {number(job.lr, 3)}", DIM)
    if (prescription := diagnosis.prescription) is not None:
        text.append("\nprescribed now " if job.waiting_adjustments else "\nprescribed ", DIM).append(
            what(prescription.kind, prescription.value, prescription.over_steps), "bold"
        )
        if (e := prescription.expected) is not None:
            text.append(f"\n  expected: {effect(e.nats, e.low, e.high, e.jobs)}", DIM)
    for sentence in diagnosis.evidence_for:
        text.append("\n+ ", f"bold {GOOD}").append(sentence)
    for sentence in diagnosis.evidence_against:
        text.append("\n− ", f"bold {NOTICE}").append(sentence)
    if diagnosis.would_refute:
        text.append("\nwould refute it: ", DIM).append(diagnosis.would_refute)
    return text


def adjustments_text(adjustments: Sequence[views.Adjustment]) -> Text:
    """The adjustments, newest first, with what was read back."""
    if not adjustments:
        return Text("none: the job is on its own schedule", DIM)
    text = Text()
    for place, a in enumerate(reversed(adjustments)):
        colour = ADJUSTMENT_COLOURS.get(a.state, "")
        text.append("\n" if place else "")
        text.append(f"{ADJUSTMENT_SIGNS.get(a.state, '·')} {a.state}", f"bold {colour}")
        text.append(f"  {what(a.kind, a.value, a.over_steps)}", "bold")
        if a.total_factor is not None:
            text.append(f", in all {factor(a.total_factor)}", DIM)
        if a.applied_step is not None:
            text.append(f" · step {count(a.applied_step)}", DIM)
        if said := read_back(a.ranks):
            text.append(f"\n  read back {said}", GOOD if a.in_force else DIM)
        if a.detail:
            text.append(f"\n  {a.detail}")
        if a.reason and a.reason != a.detail:
            text.append(f"\n  {a.reason}", DIM)
        text.append(f"  by {a.by}" if a.reason and a.reason != a.detail else f"\n  by {a.by}", DIM)
    return text


def findings_text(findings: Sequence[views.Finding]) -> Text:
    """The findings that are not inactive, the loudest first."""
    order = {"firing": 0, "pending": 1, "resolved": 2}
    shown = sorted(
        (f for f in findings if f.state in order), key=lambda f: (order[f.state], -views.severity_rank(f.severity))
    )
    if not shown:
        return Text("no rule has anything to say", DIM)
    text = Text()
    for place, f in enumerate(shown):
        firing = f.state == "firing"
        colour = SEVERITY_COLOURS.get(f.severity, "") if firing else DIM
        text.append("\n" if place else "")
        text.append(f"{SEVERITY_SIGNS.get(f.severity, '▲')} {f.rule}", f"bold {colour}" if firing else colour)
        text.append(f"  {f.state}", colour)
        if f.first_step is not None:
            text.append(f" · steps {count(f.first_step)} – {count(f.last_step)}", DIM)
        if f.summary:
            text.append(f"\n  {f.summary}", "" if firing else DIM)
    return text


def events_text(events: Sequence[views.Event], most: int = 30) -> Text:
    """What happened, newest first."""
    if not events:
        return Text("nothing to tell", DIM)
    text = Text()
    for place, event in enumerate(reversed(events[-most:])):
        text.append("\n" if place else "").append(clock(event.time), DIM)
        if event.step is not None:
            text.append(f" step {count(event.step)}", DIM)
        text.append(f"  {event.message or event.kind.replace('_', ' ')}")
        if event.count > 1:
            text.append(f" (×{event.count})", DIM)
    return text


def job_line(job: views.Job, width: int) -> Text:
    """The line on top of a job's screen."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f" {job.name} ", "bold reverse")
    text.append(f"  {job.state}", f"bold {STATE_COLOURS.get(job.state, '')}")
    text.append("  step ", DIM).append(count(job.step))
    if job.planned_steps and job.step is not None:
        share = max(0.0, min(1.0, (job.step + 1) / job.planned_steps))
        if width >= 100:
            full = round(share * 20)
            text.append(" ").append("━" * full, GOOD).append("━" * (20 - full), "#2a3641")
        text.append(f" {percent(share)}", DIM)
    text.append("  LR ", DIM).append(number(job.lr, 3), "bold")
    if job.factor_now != 1.0:
        text.append(f" {factor(job.factor_now)} of its own", GOOD)
    if job.live and job.steps_per_second is not None:
        text.append(f"  {number(job.steps_per_second, 3)} steps/s", DIM)
    text.append(f"  policy {job.policy}", DIM)
    if width >= 130:
        ranks = f"{job.ranks_seen} of {job.world_size} ranks" if job.world_size > 1 else "1 rank"
        text.append(f"  attempt {job.attempt}  {ranks}  {job.user}@{job.host}", DIM)
    if not job.live:
        text.append(f"  {how_it_ended(job)}", STATE_COLOURS.get(job.state, ""))
    elif not job.agent_connected:
        text.append("  agent not connected", CRITICAL)
    return text
