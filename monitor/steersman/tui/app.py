"""The dashboard: owns the connection and the stack of screens, nothing else."""

from __future__ import annotations

from typing import ClassVar

from textual import work
from textual.app import App
from textual.binding import Binding, BindingType

from steersman.cli.errors import ExitCode
from steersman.tui.board import Board
from steersman.tui.feed import Feed, JobUpdate
from steersman.tui.grpc_feed import GrpcFeed
from steersman.tui.messages import BoardChanged, OpenJob
from steersman.tui.palette import THEME
from steersman.tui.screens.alerts import AlertsScreen
from steersman.tui.screens.help import HelpScreen
from steersman.tui.screens.job import JobScreen
from steersman.tui.screens.overview import OverviewScreen


class Dashboard(App[None]):
    """All jobs of one daemon.

    Args:
        feed: where the news come from.
        address: of the daemon, to be shown.
        job: open this job's screen at once.
        period: seconds between two looks at the board; the screens are never faster.
    """

    TITLE = "Steersman"
    CSS_PATH = "steersman.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "Help"),
        Binding("q", "quit", "Quit"),
        # before the questions and the help, which otherwise keep every key from us
        Binding("ctrl+c", "interrupt", show=False, priority=True),
    ]

    def __init__(self, feed: Feed, address: str, job: str | None = None, period: float = 0.5) -> None:
        super().__init__()
        self.board = Board()
        self._feed = feed
        self._address = address
        self._job = job
        self._period = period
        self._changed = False

    def on_mount(self) -> None:
        """Opens the first screen, then follows the feed."""
        self.register_theme(THEME)
        self.theme = THEME.name
        self.push_screen(OverviewScreen(self.board, self._feed, self._address))
        if self._job is not None:
            self.push_screen(JobScreen(self.board, self._feed, self._address, self._job))
        self.set_interval(self._period, self.tell)
        self.follow()

    @work(exclusive=True, group="feed")
    async def follow(self) -> None:
        """Takes updates in, as they come."""
        async for update in self._feed.updates():
            self.board.apply(update)
            self._changed = True
            # changes of jobs come in bursts and wait for the beat; that the daemon came or went is said at once
            if not isinstance(update, JobUpdate):
                self.tell()

    def tell(self) -> None:
        """Tells the screen on top that the board has changed, where it has."""
        if self._changed:
            self._changed = False
            self.screen.post_message(BoardChanged())

    def on_open_job(self, message: OpenJob) -> None:
        """A screen asks for a job's own."""
        self.push_screen(JobScreen(self.board, self._feed, self._address, message.name))

    def action_alerts(self) -> None:
        """Opens what asks for attention."""
        self.push_screen(AlertsScreen(self.board, self._address))

    def action_help(self) -> None:
        """Opens keys and signs."""
        self.push_screen(HelpScreen())

    def action_interrupt(self) -> None:
        """Ends as a command on a terminal does; Textual's own answer to Ctrl-C is to name another key."""
        self.exit(return_code=ExitCode.INTERRUPTED)

    async def action_back(self) -> None:
        """Closes the screen on top, but never the overview."""
        if len(self.screen_stack) > 2:
            self.pop_screen()


def dashboard(address: str, job: str | None = None) -> Dashboard:
    """The dashboard of the daemon at `address`, not yet running."""
    return Dashboard(GrpcFeed(address), address, job)


def run(address: str, job: str | None = None) -> int:
    """Shows the dashboard of the daemon at `address` until it is closed; the exit code."""
    app = dashboard(address, job)
    app.run()
    return app.return_code or ExitCode.DONE
