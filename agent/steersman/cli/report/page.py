"""One run for a terminal: the verdict, why, what to do, and the curves."""

from __future__ import annotations

import io

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from steersman.cli.chart import draw
from steersman.cli.render import SEVERITY_SIGNS, SEVERITY_STYLES, facts, listed, section, what
from steersman.cli.report.curves import charts
from steersman.cli.report.episodes import Fired
from steersman.cli.report.outcome import Outcome
from steersman.cli.words import clean, count, effect, items, number, percent
from steersman.rules.replay import Replay

MAX_WIDTH = 120
_HEIGHTS = {"loss": 11, "learning rate": 6, "gradient norm": 6}


def page(outcome: Outcome, width: int) -> RenderableType:
    """All that is said of a run; or why there is nothing to say."""
    if outcome.replay is None:
        return Group(Text(clean(outcome.source), "bold"), Padding(Text(clean(outcome.error), "red"), (0, 0, 0, 2)))
    done = outcome.replay
    said = done.diagnosis
    parts: list[RenderableType] = [_heading(outcome, done)]
    reasons = [(Text("+", "green"), clean(text)) for text in said.evidence_for]
    reasons += [(Text("−", "yellow"), clean(text)) for text in said.evidence_against]
    if reasons:
        parts.append(Padding(listed(reasons), (0, 0, 0, 2)))
    rows = advice(outcome, done)
    if rows:
        parts.append(Padding(facts(rows), (0, 0, 0, 2)))
    if outcome.fired():
        parts.append(section("Findings", _findings(outcome)))
    parts.append(Text(""))
    parts.append(Padding(_plots(outcome, done, min(width, MAX_WIDTH) - 2), (0, 0, 0, 2)))
    parts.append(Padding(Text(read_as(done), "dim"), (0, 0, 0, 2)))
    for note in outcome.notes:
        parts.append(Padding(Text(f"note: {clean(note)}", "dim"), (0, 0, 0, 2)))
    return Group(*parts)


def _heading(outcome: Outcome, done: Replay) -> Text:
    said, severity = done.diagnosis, outcome.severity
    style = SEVERITY_STYLES.get(severity or "", "bold green" if said.verdict.value == "healthy" else "bold")
    title = Text().append(clean(outcome.name), "bold").append(f"  {clean(outcome.source)}\n", "dim")
    if severity is not None:
        title.append(f"{SEVERITY_SIGNS[severity]} ", style)
    title.append(outcome.headline, style)
    title.append(f"  confidence {percent(said.confidence)}", "dim")
    if said.onset_step is not None:
        title.append(f", since step {count(said.onset_step)}", "dim")
    return title


def advice(outcome: Outcome, done: Replay) -> list[tuple[str, RenderableType]]:
    """What to do, and what would show that this is wrong."""
    said = done.diagnosis
    rows: list[tuple[str, RenderableType]] = []
    if (lr := said.recommended_lr) is not None:
        between = f"  (between {number(lr.low)} and {number(lr.high)})"
        rows.append(("recommended LR", Text().append(number(lr.value), "bold").append(between)))
    if (plan := said.prescription) is not None:
        rows.append(("prescription", f"{what(plan.kind.value, plan.value, plan.over_steps)}: {plan.reason}"))
        if (e := plan.expected) is not None:
            rows.append(("expected", effect(e.nats, e.low, e.high, e.jobs)))
        if plan.risk:
            rows.append(("risk", plan.risk))
    if outcome.runbook:
        rows.append(("what to do", listed([(Text(mark), clean(words)) for mark, words in items(outcome.runbook)])))
    if said.would_refute:
        rows.append(("would refute it", said.would_refute))
    return rows


def read_as(done: Replay) -> str:
    """What was read, and which of the log's names were taken for what."""
    recording = done.recording
    words = f"{recording.format}, {count(len(recording.samples))} points"
    if len(recording.samples):
        steps = recording.samples.steps
        words += f" over steps {count(int(steps.min()))} to {count(int(steps.max()))}"
    if recording.facts.planned_steps:
        words += f" of {count(recording.facts.planned_steps)}"
    if recording.facts.optimizer:
        words += f", {clean(recording.facts.optimizer, 60)}"
    names = [f"{series} = {clean(name, 80)!r}" for series, name in recording.read_as.items()]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"{words}; read as: {shown}" if names else words


def when(told: Fired) -> str:
    """When a rule fired, for people: its last episode, and how often it had fired before."""
    finding = told.finding
    words = f"step {count(finding.first_step)}" + (f" to {count(finding.last_step)}" if told.over else " on")
    if len(told.episodes) == 1:
        return words
    return f"{words}, {len(told.episodes)} times since {count(told.episodes[0].first_step)}"


def _findings(outcome: Outcome) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    said = outcome.replay.diagnosis.evidence_for if outcome.replay is not None else ()
    for told in outcome.fired():
        finding = told.finding
        style = SEVERITY_STYLES.get(finding.severity.value, "")
        table.add_row(
            Text(SEVERITY_SIGNS[finding.severity.value], style),
            Text(finding.rule, "dim" if told.over else style),
            Text(when(told)),
            Text("as above", "dim") if finding.summary in said else Text(clean(finding.summary)),
        )
    return table


def _plots(outcome: Outcome, done: Replay, width: int) -> Text:
    text = Text()
    for chart in charts(done.recording, done.diagnosis.onset_step, outcome.critical):
        for row in draw(chart, width, _HEIGHTS.get(chart.title, 6)):
            for characters, style in row:
                text.append(characters, style)
            text.append("\n")
    text.rstrip()
    return text


def plain(part: RenderableType, width: int) -> str:
    """What a terminal of that width would show, without colour."""
    out = Console(file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False, color_system=None)
    with out.capture() as caught:
        out.print(part)
    return caught.get()
