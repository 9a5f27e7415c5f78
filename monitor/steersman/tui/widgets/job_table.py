"""The table of all jobs. Only cells that are on the screen and have changed are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from steersman.cli import views
from steersman.cli.words import count, factor, number, percent, sparkline
from steersman.tui.palette import DIM, GOOD, NOTICE, SEVERITY_COLOURS, SEVERITY_SIGNS, STATE_COLOURS, TRAIN


@dataclass(frozen=True)
class Column:
    """A column with its width in cells, without the padding."""

    key: str
    title: str
    width: int


def columns(width: int) -> tuple[Column, ...]:
    """The columns for a table that is `width` cells wide: the diagnosis gets what is left."""
    name = 18 if width < 140 else 28
    wanted = [
        Column("sign", "", 1),
        Column("name", "job", name),
        Column("state", "state", 8),
        Column("step", "step", 8),
        Column("loss", "loss", 8),
    ]
    if width >= 100:
        wanted.append(Column("spark", "", 12 if width < 140 else 24))
    wanted.append(Column("lr", "lr", 8 if width < 100 else 16))
    if width >= 140:
        wanted += [Column("grad", "grad norm", 9), Column("speed", "steps/s", 8), Column("policy", "policy", 8)]
    taken = sum(column.width + 2 for column in wanted)
    wanted.append(Column("diagnosis", "diagnosis", max(12, width - taken - 2)))
    return tuple(wanted)


def cell(job: views.Job, column: Column) -> tuple[str, str]:
    """What stands in a cell, and its style."""
    match column.key:
        case "sign":
            return _sign(job)
        case "name":
            return job.name, "bold" if job.live else DIM
        case "state":
            return job.state, STATE_COLOURS.get(job.state, "")
        case "step":
            return f"{count(job.step):>{column.width}}", "" if job.live else DIM
        case "loss":
            return f"{number(job.loss):>{column.width}}", "" if job.live else DIM
        case "grad":
            return f"{number(job.grad_norm, 3):>{column.width}}", "" if job.live else DIM
        case "speed":
            return f"{number(job.steps_per_second if job.live else None, 3):>{column.width}}", DIM
        case "policy":
            return job.policy, DIM
        case "spark":
            return sparkline(job.recent_loss, column.width), TRAIN if job.live else DIM
        case "lr":
            steered = job.factor_now != 1.0
            text = number(job.lr, 3)
            if steered and column.width >= 16:
                text += f" {factor(job.factor_now)}"
            return text, (GOOD if steered else "") if job.live else DIM
        case _:
            return _diagnosis(job)


def _sign(job: views.Job) -> tuple[str, str]:
    if job.live and job.waiting_adjustments:
        return "?", f"bold {NOTICE} reverse"
    severity = job.severity if job.live else None
    if severity is None:
        return ("✓", GOOD) if job.live and job.diagnosis is not None else ("·", DIM)
    return SEVERITY_SIGNS.get(severity, "▲"), f"bold {SEVERITY_COLOURS.get(severity, NOTICE)}"


def _diagnosis(job: views.Job) -> tuple[str, str]:
    if job.live and job.waiting_adjustments:
        return "waits for you", f"bold {NOTICE}"
    if job.diagnosis is None:
        return "", DIM
    severity = job.severity if job.live else None
    if severity is None:
        return job.diagnosis.headline, DIM
    words = f"{job.diagnosis.headline}  {percent(job.diagnosis.confidence)}"
    return words, SEVERITY_COLOURS.get(severity, NOTICE)


class JobTable(DataTable[Text]):
    """One row a job."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="row", cursor_foreground_priority="renderable")
        self._columns: tuple[Column, ...] = ()
        self._jobs: list[views.Job] = []
        self._shown: dict[tuple[str, str], tuple[str, str]] = {}
        self._left_on: str | None = None
        self._moved = False

    @property
    def selected(self) -> str | None:
        """Name of the job under the cursor."""
        if not self._jobs or not 0 <= self.cursor_row < len(self._jobs):
            return None
        return self._jobs[self.cursor_row].name

    def show(self, jobs: Sequence[views.Job]) -> None:
        """Shows these jobs in this order; the cursor is on the first, or on its job once somebody has moved it."""
        selected = self.selected
        self._moved = self._moved or selected != self._left_on
        before = [job.name for job in self._jobs]
        self._jobs = list(jobs)
        names = [job.name for job in jobs]
        wanted = columns(self.size.width or 78)
        if wanted != self._columns:
            self._columns = wanted
            self.clear(columns=True)
            self._shown.clear()
            for column in wanted:
                self.add_column(column.title, width=column.width, key=column.key)
            before = []
        for name in set(before) - set(names):
            self.remove_row(name)
            self._shown = {place: value for place, value in self._shown.items() if place[0] != name}
        known = set(before)
        for job in jobs:
            if job.name not in known:
                values = [cell(job, column) for column in wanted]
                self.add_row(*(_text(value) for value in values), key=job.name)
                self._shown.update({(job.name, c.key): v for c, v in zip(wanted, values, strict=True)})
        if [row.value for row in (r.key for r in self.ordered_rows)] != names:
            place = {name: i for i, name in enumerate(names)}
            self.sort("name", key=lambda text: place.get(text.plain, len(place)))
        self._write_visible()
        wanted_row = names.index(selected) if self._moved and selected in names else 0
        if names and (not self._moved or selected in names) and self.cursor_row != wanted_row:
            self.move_cursor(row=wanted_row, animate=False)
        self._left_on = self.selected

    def _write_visible(self) -> None:
        top = max(0, int(self.scroll_y) - 1)
        for job in self._jobs[top : top + max(1, self.size.height) + 2]:
            for column in self._columns:
                place, value = (job.name, column.key), cell(job, column)
                # Textual scrolls while the table is being built anew: a row that is not there yet is written with it.
                if self._shown.get(place, value) != value:
                    self._shown[place] = value
                    self.update_cell(job.name, column.key, _text(value), update_width=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """What scrolls into sight is brought up to date."""
        super().watch_scroll_y(old_value, new_value)
        self._write_visible()

    def on_resize(self) -> None:
        """Other columns may fit now."""
        if self._jobs:
            self.show(self._jobs)


def _text(value: tuple[str, str]) -> Text:
    return Text(value[0], value[1], no_wrap=True, overflow="ellipsis")
