"""One job: its curves, what is wrong with it and why, what was done about it."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widgets import Static

from steersman.cli import plan, views
from steersman.cli.chart import Chart
from steersman.tui.board import Board
from steersman.tui.curves import JobCurves, marks
from steersman.tui.decision import Decision, approval, rejection, reversal
from steersman.tui.feed import Feed, FeedError, JobUpdate
from steersman.tui.palette import DIM
from steersman.tui.screens.base import BoardScreen
from steersman.tui.screens.confirm import ConfirmScreen
from steersman.tui.widgets.metric_chart import MetricChart
from steersman.tui.widgets.panels import (
    Panel,
    adjustments_text,
    diagnosis_text,
    events_text,
    findings_text,
    job_line,
)


class JobScreen(BoardScreen):
    """One job."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.back", "Back"),
        Binding("a", "decide('approve')", "Approve"),
        Binding("x", "decide('reject')", "Reject"),
        Binding("r", "decide('revert')", "Revert"),
        Binding("l", "log", "Log scale"),
    ]

    def __init__(self, board: Board, feed: Feed, address: str, job: str) -> None:
        super().__init__(board, address)
        self._feed = feed
        self._job = job
        self._log = False
        self._curves: JobCurves | None = None
        self._events: tuple[views.Event, ...] = ()

    def compose_body(self) -> ComposeResult:
        """A line on the job, its charts, its panels."""
        yield Static(id="job-line", markup=False)
        with Container(id="body"):
            with Container(id="charts"):
                yield MetricChart(Chart("loss", empty="…"), id="loss")
                yield MetricChart(Chart("gradient norm", empty="…"), id="gradient")
                yield MetricChart(Chart("LR", empty="…"), id="lr")
            with VerticalScroll(id="panels"):
                yield Panel("diagnosis", id="diagnosis")
                yield Panel("adjustments", id="adjustments")
                yield Panel("findings", id="findings")
                yield Panel("events", id="events")

    def show_board(self) -> None:
        """The job as the board knows it."""
        job = self.board.job(self._job)
        line = self.query_one("#job-line", Static)
        if job is None:
            line.update(Text(" asking the daemon …", DIM))
            if self.board.ready:
                self.look_up()
            return
        line.update(job_line(job, self.size.width))
        adjustments = self.board.adjustments(job.name)
        self.query_one("#diagnosis", Panel).say(diagnosis_text(job))
        self.query_one("#adjustments", Panel).say(adjustments_text(adjustments))
        self.query_one("#findings", Panel).say(findings_text(job.findings))
        if self._curves is None or self._curves.attempt_id != job.attempt_id:
            self._curves = JobCurves(job.name, job.attempt_id, 2 * self.size.width)
        if self.board.connected:
            self.fetch(self._curves)

    @work(exclusive=True, group="job")
    async def look_up(self) -> None:
        """Asks for a job that ended too long ago to be among those that are told of by themselves."""
        try:
            detail = await self._feed.detail(self._job)
        except FeedError as error:
            self.query_one("#job-line", Static).update(Text(f" {error}", DIM))
            return
        self.board.apply(JobUpdate(detail.job, detail.adjustments))
        self.show_board()

    def waiting_line(self) -> Text | None:
        """What has to be decided here, with the keys that decide it."""
        job, adjustment = self.board.job(self._job), plan.waiting(self.board.adjustments(self._job))
        if job is None or adjustment is None or not job.live:
            return super().waiting_line()
        text = Text(" ? waits for you: a approve, x reject   ", no_wrap=True, overflow="ellipsis")
        return text.append(plan.plan_for(job, adjustment).sentences()[0])

    @work(exclusive=True, group="curves")
    async def fetch(self, curves: JobCurves) -> None:
        """Fetches what is new of the curves and the events."""
        try:
            await curves.refresh(self._feed)
            self._events = (await self._feed.detail(self._job)).events
        except FeedError:
            return  # the feed says itself when the daemon is gone; what was known stays
        self.query_one("#events", Panel).say(events_text(self._events))
        self.show_curves()

    def show_curves(self) -> None:
        """Draws the curves."""
        job = self.board.job(self._job)
        if job is None or self._curves is None:
            return
        signs = marks(job, self.board.adjustments(self._job))
        self.query_one("#loss", MetricChart).show(self._curves.loss(signs, self._log))
        self.query_one("#gradient", MetricChart).show(self._curves.gradient(signs, self._log))
        self.query_one("#lr", MetricChart).show(self._curves.learning_rate(signs, self._log))

    def action_log(self) -> None:
        """Switches between linear and logarithmic scales."""
        self._log = not self._log
        self.show_curves()

    def action_decide(self, verb: str) -> None:
        """Asks before anything is done, and says exactly what that would be."""
        job = self.board.job(self._job)
        if job is None:
            return
        if not self.board.connected:
            self.notify("the daemon is gone: nothing can be decided until it is back", severity="warning")
            return
        adjustments = self.board.adjustments(self._job)
        decision = {"approve": approval, "reject": rejection, "revert": reversal}[verb](job, adjustments)
        if decision is None:
            nothing = "is in force" if verb == "revert" else "waits for a decision"
            self.notify(f"no adjustment of {job.name} {nothing}", severity="warning", markup=False)
            return
        self.ask(decision)

    @work(exclusive=True, group="decision")
    async def ask(self, decision: Decision) -> None:
        """Asks, decides, and says what became of it."""
        if not await self.app.push_screen_wait(ConfirmScreen(decision)):
            return
        try:
            adjustment = await self._feed.decide(decision.verb, decision.adjustment.id)
        except FeedError as error:
            self.notify(str(error), title=f"not {decision.done}", severity="error", timeout=10, markup=False)
            return
        self.notify(decision.outcome(adjustment), markup=False)
