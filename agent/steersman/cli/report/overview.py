"""Many runs, a line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from steersman.cli.render import SEVERITY_SIGNS, SEVERITY_STYLES
from steersman.cli.report.outcome import Outcome
from steersman.cli.words import clean, count, number, percent, plural, sparkline

_COLUMNS = ("", "RUN", "POINTS", "LOSS", "DIAGNOSIS", "SINCE", "LR TO USE")
_WIDE = 100
"""Columns of a terminal that has room for curves."""
_GAP = 2
_READABLE = 26
"""Columns that a diagnosis wants before a run's name gets more."""


def overview(outcomes: Sequence[Outcome], width: int) -> Table:
    """A table of all runs; what could not be read stands in it with the reason."""
    rows = [_cells(outcome) for outcome in outcomes]
    # What no run has, or there is no room for, would only make the diagnosis narrow.
    shown = [
        column
        for column, name in enumerate(_COLUMNS)
        if name in ("", "RUN", "POINTS", "DIAGNOSIS")
        or (any(row[column] for row in rows) and (name != "LOSS" or width >= _WIDE))
    ]
    # A number that is cropped is another number: the run's name gives way, and the diagnosis folds.
    widths = [max(map(cell_len, (_COLUMNS[column], *(row[column].plain for row in rows)))) for column in shown]
    fixed = [w for w, column in zip(widths, shown, strict=True) if _COLUMNS[column] not in ("RUN", "DIAGNOSIS")]
    left = max(3, width - sum(fixed) - _GAP * (len(shown) - 1))
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for column in shown:
        match name := _COLUMNS[column]:
            case "RUN":
                most = min(max(16, width // 3), max(left - _READABLE, left // 3))
                table.add_column(name, overflow="ellipsis", no_wrap=True, max_width=most)
            case "DIAGNOSIS":
                table.add_column(name, overflow="fold")
            case _:
                table.add_column(name, justify="right" if name in ("POINTS", "SINCE") else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(row[column] for column in shown))
    return table


def _cells(outcome: Outcome) -> tuple[Text, ...]:
    """A row: a cell for each of `_COLUMNS`."""
    if outcome.replay is None:
        source, error = Text(clean(outcome.source)), Text(clean(outcome.error), "red")
        return Text("✗", "red"), source, Text(""), Text(""), error, Text(""), Text("")
    said, severity = outcome.replay.diagnosis, outcome.severity
    style = SEVERITY_STYLES.get(severity or "", "")
    loss = outcome.replay.recording.samples.columns.get("loss")
    values: list[float] = [] if loss is None else loss.values[loss.present].tolist()
    points = count(len(outcome.replay.recording.samples))
    return (
        Text(SEVERITY_SIGNS[severity] if severity else " ", style),
        Text(clean(outcome.name), "bold"),
        Text(points),
        Text(sparkline(values[:: max(1, len(values) // 240)], 10), "cyan"),
        Text(f"{outcome.headline} ({percent(said.confidence)})", style if severity in ("warning", "critical") else ""),
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
