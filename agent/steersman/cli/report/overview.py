"""Many runs, a line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from steersman.cli.render import SEVERITY_SIGNS, SEVERITY_STYLES
from steersman.cli.report.outcome import Outcome
from steersman.cli.words import clean, count, number, percent, plural, sparkline


def overview(outcomes: Sequence[Outcome], width: int) -> Table:
    """A table of all runs; what could not be read stands in it with the reason."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("RUN", overflow="ellipsis", no_wrap=True, max_width=max(16, width // 3))
    table.add_column("POINTS", justify="right", no_wrap=True)
    table.add_column("LOSS", no_wrap=True)
    table.add_column("DIAGNOSIS", overflow="fold")
    table.add_column("SINCE", justify="right", no_wrap=True)
    table.add_column("LR TO USE", no_wrap=True)
    for outcome in outcomes:
        table.add_row(*_row(outcome))
    return table


def _row(outcome: Outcome) -> tuple[Text, ...]:
    if outcome.replay is None:
        name, why = clean(outcome.source), clean(outcome.error)
        return Text("✗", "red"), Text(name), Text(""), Text(""), Text(why, "red"), Text(""), Text("")
    said, severity = outcome.replay.diagnosis, outcome.severity
    style = SEVERITY_STYLES.get(severity or "", "")
    loss = outcome.replay.recording.samples.columns.get("loss")
    values: list[float] = [] if loss is None else loss.values[loss.present].tolist()
    spark = sparkline(values[:: max(1, len(values) // 240)], 10)
    words = f"{said.headline} ({percent(said.confidence)})"
    return (
        Text(SEVERITY_SIGNS[severity] if severity else " ", style),
        Text(clean(outcome.name), "bold"),
        Text(count(len(outcome.replay.recording.samples))),
        Text(spark, "cyan"),
        Text(words, style if severity in ("warning", "critical") else ""),
        Text(count(said.onset_step) if said.onset_step is not None else "", "dim"),
        Text(number(said.recommended_lr.value, 3) if said.recommended_lr else ""),
    )


def tally(outcomes: Sequence[Outcome]) -> str:
    """How many of what."""
    read = [o for o in outcomes if o.replay is not None]
    loud = Counter(o.severity for o in read)
    words = [plural(len(read), "run")]
    if loud["critical"]:
        words.append(f"{loud['critical']} with a critical finding")
    if loud["warning"]:
        words.append(f"{loud['warning']} with a warning")
    if len(outcomes) > len(read):
        words.append(f"{len(outcomes) - len(read)} could not be read")
    return ", ".join(words)
