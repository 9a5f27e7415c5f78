"""The question before an act."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from steersman.tui.decision import Decision


class ConfirmScreen(ModalScreen[bool]):
    """Says what will happen, and asks. No is the answer unless yes is given."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
        Binding("left,right", "app.focus_next", show=False),
    ]

    def __init__(self, decision: Decision) -> None:
        super().__init__()
        self._decision = decision

    def compose(self) -> ComposeResult:
        """The question, what will happen, two buttons."""
        with Vertical(id="dialog"):
            yield Static(Text(self._decision.title, "bold"), id="question")
            yield Static(Text("\n".join(self._decision.lines)), id="consequences")
            with Horizontal(id="answers"):
                yield Button(f"Yes, {self._decision.verb} (y)", id="yes", variant="success")
                yield Button("No (n)", id="no")

    def on_mount(self) -> None:
        """A stray Enter must not decide anything."""
        self.query_one("#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """An answer by mouse or Enter."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        """An answer by key."""
        self.dismiss(yes)
