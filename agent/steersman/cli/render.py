"""Views as tables and sentences for a terminal. Data is never read as Rich markup."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from steersman.cli import views
from steersman.cli.words import count, duration, effect, factor, number, percent, plural, sparkline, units

STATE_STYLES = {
    "starting": "cyan",
    "running": "green",
    "silent": "yellow",
    "finished": "dim",
    "failed": "red",
    "killed": "red",
    "lost": "yellow",
    "detached": "dim",
}
SEVERITY_STYLES = {"info": "cyan", "warning": "yellow", "critical": "bold red"}
# the sign tells severities apart where the colour does not
SEVERITY_SIGNS = {"info": "●", "warning": "▲", "critical": "◆"}
ADJUSTMENT_STYLES = {
    "proposed": "bold yellow",
    "approved": "cyan",
    "armed": "cyan",
    "applied": "green",
    "probation": "green",
    "kept": "green",
    "reverted": "dim",
    "refused": "red",
    "expired": "dim",
}


def console(stderr: bool = False) -> Console:
    """A console that takes data as it is: no markup, no emoji codes, no guessed highlights."""
    return Console(file=sys.stderr if stderr else sys.stdout, markup=False, emoji=False, highlight=False)


def clock(seconds: float | None) -> str:
    """A time of day, local."""
    return "" if seconds is None else datetime.fromtimestamp(seconds).strftime("%H:%M:%S")


def lr_text(job: views.Job) -> Text:
    """The learning rate in force, with the factor where an overlay is."""
    text = Text(number(job.lr))
    if job.factor_now != 1.0:
        text.append(f" {factor(job.factor_now)}", "bold green")
    return text


def diagnosis_text(job: views.Job) -> Text:
    """The headline of a job's diagnosis with severity sign and confidence."""
    diagnosis, severity = job.diagnosis, job.severity
    if diagnosis is None:
        return Text("")
    if severity is None:
        return Text().append(diagnosis.headline, "dim")
    sign = SEVERITY_SIGNS.get(severity, "?")
    words = f"{sign} {diagnosis.headline} ({percent(diagnosis.confidence)})"
    return Text().append(words, SEVERITY_STYLES.get(severity, ""))


def jobs_table(jobs: Sequence[views.Job], width: int = 120) -> Table:
    """One row a job; below a width of 100 without the picture of the loss, so that the diagnosis keeps some room."""
    pictured = width >= 100
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name, justify in (
        ("JOB", "left"),
        ("STATE", "left"),
        ("STEP", "right"),
        ("LOSS", "right"),
        ("", "left"),
        ("LR", "left"),
        ("DIAGNOSIS", "left"),
    ):
        if not name and not pictured:
            continue
        table.add_column(name, justify=justify, no_wrap=name != "DIAGNOSIS")  # type: ignore[arg-type]  # literals
    for job in jobs:
        diagnosis = diagnosis_text(job)
        if job.waiting_adjustments:
            diagnosis.append(f"  waits for a decision: steersman approve {job.name}", "bold yellow")
        cells = [
            Text(job.name, "bold"),
            Text(job.state, STATE_STYLES.get(job.state, "")),
            Text(count(job.step)),
            Text(number(job.loss)),
        ]
        if pictured:
            cells.append(Text(sparkline(job.recent_loss, 12), "cyan"))
        table.add_row(*cells, lr_text(job), diagnosis)
    return table


def facts(rows: Sequence[tuple[str, RenderableType]]) -> Table:
    """Names on the left, what they are on the right."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value) if isinstance(value, str) else value)
    return table


def listed(rows: Sequence[tuple[Text, str]]) -> RenderableType:
    """Lines that wrap behind their marks."""
    if not any(mark.plain for mark, _ in rows):
        return Text("\n".join(words for _, words in rows))
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for mark, words in rows:
        table.add_row(mark, Text(words))
    return table


def section(title: str, body: RenderableType) -> Group:
    """A titled, indented part of a page."""
    return Group(Text(f"\n{title}", "bold"), Padding(body, (0, 0, 0, 2)))


def how_it_ended(job: views.Job) -> str:
    """The state of a job with how it came to it."""
    words = job.state
    if job.signal is not None:
        words += f" by signal {job.signal}"
    elif job.exit_code:
        words += f" with exit code {job.exit_code}"
    if job.end_message:
        words += f": {job.end_message}"
    return words


def job_facts(job: views.Job) -> Table:
    """What a job is and where it stands."""
    step = count(job.step)
    if job.planned_steps:
        step += f" of {count(job.planned_steps)}"
    if job.steps_per_second is not None and job.live:
        step += f"  ({number(job.steps_per_second, 3)} steps/s)"
    lr = lr_text(job)
    if job.own_lr is not None and job.own_lr != job.lr:
        lr.append(f"  the job's own: {number(job.own_lr)}", "dim")
    ranks = f"{job.ranks_seen} of {job.world_size}" if job.world_size != job.ranks_seen else str(job.world_size)
    rows: list[tuple[str, RenderableType]] = [
        ("state", Text(how_it_ended(job), STATE_STYLES.get(job.state, ""))),
        (
            "attempt",
            f"{job.attempt}, {plural(job.world_size, 'rank')}"
            if ranks == "1"
            else f"{job.attempt}, ranks seen: {ranks}",
        ),
        ("policy", job.policy),
        ("step", step),
        ("loss, smoothed", Text(number(job.loss) + "  ").append(sparkline(job.recent_loss, 40), "cyan")),
    ]
    if job.val_loss is not None:
        rows.append(("val loss", number(job.val_loss)))
    rows += [("gradient norm", number(job.grad_norm)), ("LR", lr)]
    rows.append(("command", f"{job.command}  ({job.user}@{job.host}, {job.way_in})"))
    if job.rows_lost:
        rows.append(("lost", Text(f"{plural(job.rows_lost, 'sample')} of {count(job.rows + job.rows_lost)}", "yellow")))
    if job.live and not job.agent_connected:
        rows.append(("agent", Text("not connected: an adjustment could not reach the job now", "yellow")))
    return facts(rows)


def diagnosis_page(job: views.Job) -> RenderableType:
    """The diagnosis in words first, then why, then what to do."""
    diagnosis = job.diagnosis
    if diagnosis is None:
        return Text("\nno diagnosis yet", "dim")
    severity = job.severity
    style = SEVERITY_STYLES.get(severity or "", "bold")
    title = Text("\n")
    if severity is not None:
        title.append(f"{SEVERITY_SIGNS[severity]} ", style)
    title.append(diagnosis.headline, style)
    title.append(f"  confidence {percent(diagnosis.confidence)}", "dim")
    if diagnosis.onset_step is not None:
        title.append(f", since step {count(diagnosis.onset_step)}", "dim")
    reasons = [(Text("+", "green"), text) for text in diagnosis.evidence_for]
    reasons += [(Text("−", "yellow"), text) for text in diagnosis.evidence_against]
    rows: list[tuple[str, RenderableType]] = []
    if (lr := diagnosis.recommended_lr) is not None:
        between = f"  (between {number(lr.low)} and {number(lr.high)})"
        rows.append(("recommended LR", Text().append(number(lr.value), "bold").append(between)))
    if (prescription := diagnosis.prescription) is not None:
        rows.append(
            (
                "prescription now" if job.waiting_adjustments else "prescription",
                f"{what(prescription.kind, prescription.value, prescription.over_steps)}: {prescription.reason}",
            )
        )
        if (e := prescription.expected) is not None:
            rows.append(("expected", effect(e.nats, e.low, e.high, e.jobs)))
        if prescription.risk:
            rows.append(("risk", prescription.risk))
    if diagnosis.would_refute:
        rows.append(("would refute it", diagnosis.would_refute))
    parts: list[RenderableType] = [title]
    if reasons:
        parts.append(Padding(listed(reasons), (0, 0, 0, 2)))
    if rows:
        parts.append(Padding(facts(rows), (0, 0, 0, 2)))
    return Group(*parts)


def what(kind: str, value: float | None, over_steps: int) -> str:
    """An adjustment in a few words: `scale ×0.5 over 100 steps`."""
    words = kind
    if kind == "scale":
        words += f" {factor(value)}"
    elif kind == "set":
        words += f" {number(value)}"
    return f"{words} over {plural(over_steps, 'step')}" if over_steps else words


def findings_table(findings: Sequence[views.Finding]) -> Table:
    """One row a finding."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", "rule", "state", "steps", "what it saw"):
        table.add_column(name, no_wrap=name in ("", "rule", "state", "steps"))
    for finding in findings:
        if finding.state == "inactive":
            continue
        style = SEVERITY_STYLES.get(finding.severity, "") if finding.state == "firing" else "dim"
        steps = "" if finding.first_step is None else f"{count(finding.first_step)} – {count(finding.last_step)}"
        table.add_row(
            Text(SEVERITY_SIGNS.get(finding.severity, "?"), style),
            Text(finding.rule, style),
            Text(finding.state, style),
            Text(steps),
            Text(finding.summary),
        )
    return table


def read_back(ranks: Mapping[str, views.ReadBack]) -> str:
    """What the optimizer said its learning rates were, on how many ranks."""
    if not ranks:
        return ""
    values = {reading.lr for reading in ranks.values()}
    if len(values) > 1:
        return "ranks differ: " + "; ".join(
            f"rank {rank} {', '.join(map(number, reading.lr))}" for rank, reading in ranks.items()
        )
    lrs = next(iter(values))
    words = f"LR {', '.join(map(number, lrs[:4]))}" + (" …" if len(lrs) > 4 else "")
    return words + (f" on {len(ranks)} ranks" if len(ranks) > 1 else "")


def adjustments_table(adjustments: Sequence[views.Adjustment]) -> Group:
    """Two lines an adjustment: what it is, and below it who asked, what was read back and why it stands as it does."""
    parts: list[RenderableType] = []
    for a in adjustments:
        why = a.detail if a.detail and a.state not in ("applied", "kept") else a.reason or a.detail
        head = Text.assemble(
            (a.id, "dim"),
            "  ",
            what(a.kind, a.value, a.over_steps),
            f"  in all {factor(a.total_factor)}  ",
            (a.state, ADJUSTMENT_STYLES.get(a.state, "")),
            f"  step {count(a.applied_step)}" if a.applied_step is not None else "",
        )
        words = "; ".join(part for part in (f"by {a.by}" if a.by else "", read_back(a.ranks), why) if part)
        parts += [head, Padding(Text(words, "dim"), (0, 0, 0, 2))]
    return Group(*parts)


def events_table(events: Sequence[views.Event]) -> Table:
    """One row an event, newest last."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for event in events:
        step = "" if event.step is None else f"step {count(event.step)}"
        words = event.message or event.kind.replace("_", " ")
        table.add_row(
            Text(clock(event.time), "dim"),
            Text(step, "dim"),
            Text(words + (f" (×{event.count})" if event.count > 1 else "")),
        )
    return table


def job_page(detail: views.JobDetail, events: int = 12) -> Group:
    """All that `show` says of a job."""
    job = detail.job
    parts: list[RenderableType] = [Text(job.name, "bold"), Padding(job_facts(job), (0, 0, 0, 2)), diagnosis_page(job)]
    if any(f.state != "inactive" for f in job.findings):
        parts.append(section("Findings", findings_table(job.findings)))
    told = [finding.summary for finding in job.findings if finding.state != "inactive"]
    if job.diagnosis is not None:
        told += [*job.diagnosis.evidence_for, *job.diagnosis.evidence_against]
        if job.diagnosis.prescription is not None and (e := job.diagnosis.prescription.expected) is not None:
            told.append(effect(e.nats, e.low, e.high, e.jobs))
    if legend := units(told):
        parts.append(Text(f"\n  {legend}", "dim"))
    if detail.adjustments:
        parts.append(section("Adjustments", adjustments_table(detail.adjustments)))
        if any(a.waiting for a in detail.adjustments):
            parts.append(
                Text(
                    f"\n  waits for a decision: steersman approve {job.name}, or steersman reject {job.name}",
                    "bold yellow",
                )
            )
    if detail.events:
        parts.append(section("Events", events_table(detail.events[-events:])))
    return Group(*parts)


def provenance_page(provenance: views.Provenance) -> Group:
    """Where the numbers of a sample came from: one line a series, with its value in that sample."""
    title = Text(f"{provenance.job}, rank {provenance.rank}, step {count(provenance.step)}", "bold")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for source in provenance.sources:
        value = "" if source.value is None else number(source.value)
        table.add_row(Text(source.series), Text(value, "bold"), Text(source.words))
    return Group(title, Padding(table, (0, 0, 0, 2)))


def ledger_table(ledger: views.Ledger) -> Group:
    """Two lines an entry: what happened, and below it who did it, what was read back and why."""
    parts: list[RenderableType] = []
    for entry in ledger.entries:
        head = Text.assemble(
            f"{entry.seq:>3}  ",
            (clock(entry.time), "dim"),
            f"  {entry.adjustment}  {_recorded(entry)}  ",
            (entry.state, ADJUSTMENT_STYLES.get(entry.state, "")),
            f"  step {count(entry.step)}" if entry.step is not None else "",
            (f"  {entry.hash[:12]}", "dim"),
        )
        said = (f"by {entry.by}" if entry.by else "", read_back(entry.ranks), entry.reason)
        words = "; ".join(part for part in said if part)
        parts += [head, Padding(Text(words, "dim"), (0, 0, 0, 5))]
    return Group(*parts)


def _recorded(entry: views.LedgerEntry) -> str:
    value, over = entry.params.get("value"), entry.params.get("over_steps")
    amount = float(value) if isinstance(value, (int, float)) else None
    return what(entry.kind, amount, int(over) if isinstance(over, (int, float)) else 0)


def ago(then: float | None, now: float) -> str:
    """How long ago something was."""
    return "" if then is None else f"{duration(now - then)} ago"
