"""Keys and signs."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from steersman.tui.palette import CRITICAL, DIM, GOOD, LR, NOTICE, OWN_LR, SEVERITY_COLOURS, SEVERITY_SIGNS, TRAIN, VAL

_KEYS = (
    ("↑ ↓  j k", "move"),
    ("enter", "open a job"),
    ("escape", "back"),
    ("s", "sort jobs: by attention, name, newest, loss"),
    ("w", "all alerts"),
    ("a  x", "approve or reject what waits (asks first)"),
    ("r", "take the newest adjustment back (asks first)"),
    ("l", "linear or logarithmic charts"),
    ("q", "quit; the daemon and the jobs go on"),
)


class HelpScreen(ModalScreen[None]):
    """Keys and signs."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,enter", "dismiss", "Close")]

    def compose(self) -> ComposeResult:
        """One text."""
        with Vertical(id="dialog"):
            yield Static(help_text(), id="help", markup=False)


def help_text() -> Text:
    """Keys and signs as one text."""
    text = Text().append("Keys\n", "bold")
    for keys, words in _KEYS:
        text.append(f"  {keys:<10}", "bold").append(f"{words}\n")
    text.append("\nSigns\n", "bold")
    for severity in ("critical", "warning", "info"):
        text.append(f"  {SEVERITY_SIGNS[severity]:<3}", SEVERITY_COLOURS[severity]).append(f"a finding, {severity}\n")
    for sign, style, words in (
        ("?", NOTICE, "an adjustment waits for your decision"),
        ("↓ ↑", GOOD, "an adjustment lowered or raised the LR"),
        ("×", CRITICAL, "the value was not finite there"),
        ("⣿", TRAIN, "training loss"),
        ("⣿", VAL, "validation loss"),
        ("⣿", LR, "learning rate in force"),
        ("⣿", OWN_LR, "the job's own learning rate"),
    ):
        text.append(f"  {sign:<4}" if len(sign) > 1 else f"  {sign:<3}", style).append(f"{words}\n")
    text.append("\nCurves are of rank 0; each column keeps its least and greatest value.", DIM)
    return text
