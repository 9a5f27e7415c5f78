"""What the app tells its screens."""

from __future__ import annotations

from textual.message import Message


class BoardChanged(Message):
    """The board has news; what it says is read from the board, so that a burst needs one message only."""

    def can_replace(self, message: Message) -> bool:
        """One that has not been handled yet makes an older one superfluous."""
        return isinstance(message, BoardChanged)


class OpenJob(Message):
    """A job's own screen is asked for."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
