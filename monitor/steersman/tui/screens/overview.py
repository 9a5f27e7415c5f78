"""All jobs, one row each."""

from __future__ import annotations

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import DataTable, Static

from steersman.cli.chart import Chart
from steersman.tui.board import SORTS, Board
from steersman.tui.curves import JobCurves, marks
from steersman.tui.feed import Feed, FeedError
from steersman.tui.messages import OpenJob
from steersman.tui.screens.base import BoardScreen
from steersman.tui.widgets.job_table import JobTable
from steersman.tui.widgets.metric_chart import MetricChart
from steersman.tui.widgets.panels import Panel, adjustments_text, diagnosis_text

EMPTY = """\
No job yet. Start one, with no change to its code:

    steersman run -- python train.py

or watch it from inside the script:

    from steersman.agent import watch
    watch(optimizer)

It appears here with its first step."""


class OverviewScreen(BoardScreen):
    """The table of all jobs and, where there is room, more of the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", priority=True),
        Binding("s", "sort", "Sort"),
        Binding("w", "app.alerts", "Alerts"),
    ]

    def __init__(self, board: Board, feed: Feed, address: str) -> None:
        super().__init__(board, address)
        self._feed = feed
        self._sort = SORTS[0]
        self._curves: JobCurves | None = None

    def compose_body(self) -> ComposeResult:
        """The table, and a preview below it."""
        yield Static(EMPTY, id="empty", markup=False)
        yield JobTable(id="jobs")
        with Horizontal(id="preview"):
            yield MetricChart(Chart("loss"), id="preview-loss")
            with VerticalScroll(id="preview-words", can_focus=False):
                yield Panel("diagnosis", id="preview-diagnosis")
                yield Panel("adjustments", id="preview-adjustments")

    def show_board(self) -> None:
        """The jobs as the board knows them."""
        jobs = self.board.jobs(self._sort)
        empty = self.query_one("#empty", Static)
        empty.display = not jobs
        if not jobs:
            empty.update(EMPTY if self.board.ready else f"Asking the daemon at {self.address} …")
        table = self.query_one(JobTable)
        table.display = bool(jobs)
        table.show(jobs)
        table.border_title = f"jobs · sorted by {self._sort}"
        self.show_preview()

    def show_preview(self) -> None:
        """More of the job under the cursor."""
        name = self.query_one(JobTable).selected
        job = None if name is None else self.board.job(name)
        preview = self.query_one("#preview")
        preview.display = job is not None and self.size.height >= 34
        if job is None or not preview.display:
            return
        preview.border_title = job.name.replace("[", "\\[")
        self.query_one("#preview-diagnosis", Panel).say(diagnosis_text(job))
        self.query_one("#preview-adjustments", Panel).say(adjustments_text(self.board.adjustments(job.name)))
        if self._curves is None or (self._curves.job, self._curves.attempt_id) != (job.name, job.attempt_id):
            self._curves = JobCurves(job.name, job.attempt_id, 2 * self.size.width)
            self.query_one("#preview-loss", MetricChart).show(Chart("loss", empty="…"))
        if self.board.connected:
            self.fetch(self._curves)

    @work(exclusive=True, group="curves")
    async def fetch(self, curves: JobCurves) -> None:
        """Fetches what is new of the job under the cursor."""
        try:
            await curves.refresh(self._feed)
        except FeedError:
            return  # the feed says itself when the daemon is gone; a job that went has no curves to show
        job = self.board.job(curves.job)
        if job is not None and curves is self._curves:
            chart = curves.loss(marks(job, self.board.adjustments(job.name)), log=False)
            self.query_one("#preview-loss", MetricChart).show(chart)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Another job is under the cursor."""
        self.show_preview()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """A job was clicked."""
        self.action_open()

    def action_open(self) -> None:
        """Opens the job under the cursor."""
        name = self.query_one(JobTable).selected
        if name is not None:
            self.post_message(OpenJob(name))

    def action_sort(self) -> None:
        """Sorts by the next of the orders."""
        self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        self.show_board()
