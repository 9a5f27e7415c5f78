"""Many runs, a line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from steersman.cli.render import SEVERITY_SIGNS, SEVERITY_STYLES
from steersman.cli.report.outcome import Outcome
from steersman.cli.words import clean, count, number, percent, plural, sparkline

_WIDE = 100


def overview(outcomes: Sequence[Outcome], width: int) -> Table:
    """A table of all runs; what could not be read stands in it with the reason."""
    said = [o.replay.diagnosis for o in outcomes if o.replay is not None]
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("RUN", overflow="ellipsis", no_wrap=True, max_width=max(16, width // 3))
    table.add_column("POINTS", justify="right", no_wrap=True)
    # What no run has, or there is no room for, would only make the diagnosis narrow.
    curves = width >= _WIDE
    since = any(d.onset_step is not None for d in said)
    rates = any(d.recommended_lr is not None for d in said)
    if curves:
        table.add_column("LOSS", no_wrap=True)
    table.add_column("DIAGNOSIS", overflow="fold", min_width=min(30, width // 3))
    if since:
        table.add_column("SINCE", justify="right", no_wrap=True)
    if rates:
        table.add_column("LR TO USE", no_wrap=True)
    for outcome in outcomes:
        head, curve, words, start, rate = _cells(outcome)
        table.add_row(
            *head, *([curve] if curves else []), words, *([start] if since else []), *([rate] if rates else [])
        )
    return table


def _cells(outcome: Outcome) -> tuple[tuple[Text, Text, Text], Text, Text, Text, Text]:
    if outcome.replay is None:
        head = Text("✗", "red"), Text(clean(outcome.source)), Text("")
        return head, Text(""), Text(clean(outcome.error), "red"), Text(""), Text("")
    said, severity = outcome.replay.diagnosis, outcome.severity
    style = SEVERITY_STYLES.get(severity or "", "")
    loss = outcome.replay.recording.samples.columns.get("loss")
    values: list[float] = [] if loss is None else loss.values[loss.present].tolist()
    points = count(len(outcome.replay.recording.samples))
    head = Text(SEVERITY_SIGNS[severity] if severity else " ", style), Text(clean(outcome.name), "bold"), Text(points)
    return (
        head,
        Text(sparkline(values[:: max(1, len(values) // 240)], 10), "cyan"),
        Text(f"{said.headline} ({percent(said.confidence)})", style if severity in ("warning", "critical") else ""),
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
