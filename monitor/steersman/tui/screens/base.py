"""What the dashboard's screens have in common: a top line that says whether the daemon is there, and the keys."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Footer, Static

from steersman.cli.words import plural
from steersman.tui.board import Board
from steersman.tui.messages import BoardChanged
from steersman.tui.palette import CRITICAL, DIM, GOOD, NOTICE, SEVERITY_SIGNS


class BoardScreen(Screen[None]):
    """A view of the board: a subclass composes its body and shows the board in `show_board`."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012  # declared so by Screen

    def __init__(self, board: Board, address: str) -> None:
        super().__init__()
        self.board = board
        self.address = address

    def compose(self) -> ComposeResult:
        """Top line, what is wrong with the connection, what waits, the body, the keys."""
        yield Static(id="top", markup=False)
        yield Static(id="offline", markup=False)
        yield Static(id="waiting", markup=False)
        yield from self.compose_body()
        yield Footer(show_command_palette=False)

    def compose_body(self) -> ComposeResult:
        """What stands between the top lines and the keys."""
        yield from ()

    def on_mount(self) -> None:
        """Shows what is known already."""
        self.show()

    def on_screen_resume(self) -> None:
        """Another screen was on top, and the board may have changed."""
        self.show()

    def on_resize(self) -> None:
        """Lines may have more or less room."""
        self.call_after_refresh(self.show)

    def on_board_changed(self, message: BoardChanged) -> None:
        """The board has news."""
        self.show()

    def show(self) -> None:
        """Shows the board."""
        self.query_one("#top", Static).update(top_line(self.board, self.address, self.size.width))
        lost = self.board.lost
        offline = self.query_one("#offline", Static)
        offline.display = lost is not None
        if lost is not None:
            since = "last known state, " if self.board.ready else ""
            offline.update(Text(f" ✗ offline, trying again: {since}{lost.reason}", no_wrap=True, overflow="ellipsis"))
        self.set_class(lost is not None, "-offline")
        waiting = self.query_one("#waiting", Static)
        line = self.waiting_line()
        waiting.display = line is not None
        if line is not None:
            waiting.update(line)
        self.show_board()

    def waiting_line(self) -> Text | None:
        """What has to be decided, in one line; None where nothing waits."""
        adjustments = self.board.waiting()
        if not adjustments:
            return None
        names = list(dict.fromkeys(a.job for a in adjustments))
        jobs = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        verb = "waits" if len(adjustments) == 1 else "wait"
        return Text(
            f" ? {plural(len(adjustments), 'adjustment')} {verb} for your decision: {jobs}",
            no_wrap=True,
            overflow="ellipsis",
        )

    def show_board(self) -> None:
        """Shows the body."""


def top_line(board: Board, address: str, width: int) -> Text:
    """Who is watched, and the counts."""
    counts = board.counts()
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(" Steersman ", "bold")
    if board.connected:
        text.append("● ", GOOD).append(address, DIM)
    else:
        text.append("○ ", CRITICAL).append(address, DIM)
    parts: list[tuple[str, str]] = [(plural(counts.live, "live job"), "bold" if counts.live else DIM)]
    if counts.ended and width >= 70:
        parts.append((f"{counts.ended} ended", DIM))
    if counts.critical:
        parts.append((f"{SEVERITY_SIGNS['critical']} {counts.critical} critical", f"bold {CRITICAL}"))
    if counts.warning:
        parts.append((f"{SEVERITY_SIGNS['warning']} {plural(counts.warning, 'warning')}", f"bold {NOTICE}"))
    if counts.waiting:
        parts.append((f"? {counts.waiting} to decide", f"bold {NOTICE}"))
    if counts.live and not (counts.critical or counts.warning):
        parts.append(("✓ nothing fires", GOOD))
    right = Text("   ").join(Text(words, style) for words, style in parts)
    text.append(" " * max(2, width - text.cell_len - right.cell_len - 1))
    text.append_text(right)
    return text
