"""Everything that asks for attention, over all jobs."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from steersman.cli.words import count
from steersman.tui.board import Alert, Board
from steersman.tui.decision import approval
from steersman.tui.messages import OpenJob
from steersman.tui.palette import DIM, NOTICE, SEVERITY_COLOURS, SEVERITY_SIGNS
from steersman.tui.screens.base import BoardScreen


class AlertsScreen(BoardScreen):
    """Decisions first, then what fires, then what builds up."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.back", "Back"),
        Binding("enter", "select", "Open job", priority=True),
    ]

    def __init__(self, board: Board, address: str) -> None:
        super().__init__(board, address)
        self._shown: list[Text] | None = None

    def compose_body(self) -> ComposeResult:
        """One list."""
        yield OptionList(id="alerts", markup=False)

    def show_board(self) -> None:
        """The alerts as the board knows them."""
        alerts = self.board.alerts()
        texts = [alert_text(alert, self.board) for alert in alerts] or [
            Text("✓ nothing fires and nothing waits for a decision", DIM)
        ]
        if texts == self._shown:
            return
        self._shown = texts
        options = self.query_one(OptionList)
        options.border_title = "alerts"
        place = options.highlighted
        options.clear_options()
        options.add_options([Option(text, disabled=not alerts) for text in texts])
        if alerts:
            options.highlighted = min(place or 0, len(alerts) - 1)

    def action_select(self) -> None:
        """Opens the job of the alert under the cursor."""
        alerts, place = self.board.alerts(), self.query_one(OptionList).highlighted
        if place is not None and place < len(alerts):
            self.post_message(OpenJob(alerts[place].job.name))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """An alert was clicked."""
        self.action_select()


def alert_text(alert: Alert, board: Board) -> Text:
    """An alert in two lines."""
    if alert.adjustment is not None:
        text = (
            Text()
            .append("? ", f"bold {NOTICE}")
            .append(alert.job.name, "bold")
            .append("  waits for your decision", NOTICE)
        )
        decision = approval(alert.job, board.adjustments(alert.job.name))
        return text.append(f"\n  {decision.lines[0] if decision else alert.adjustment.reason}")
    assert alert.finding is not None
    finding = alert.finding
    firing = finding.state == "firing"
    colour = SEVERITY_COLOURS.get(finding.severity, NOTICE) if firing else DIM
    text = Text().append(f"{SEVERITY_SIGNS.get(finding.severity, '▲')} ", f"bold {colour}")
    text.append(alert.job.name, "bold").append(f"  {finding.rule}", colour).append(f"  {finding.state}", colour)
    if finding.first_step is not None:
        text.append(f" since step {count(finding.first_step)}", DIM)
    return text.append(f"\n  {finding.summary}", "" if firing else DIM)
