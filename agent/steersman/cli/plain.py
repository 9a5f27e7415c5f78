"""Output for terminals and pipes whose encoding lacks our signs."""

from __future__ import annotations

import codecs
import io
import sys

_HANDLER = "steersman-plain"
_PLAIN = {
    "◆": "#", "▲": "!", "●": "*", "✗": "x", "✓": "+", "×": "x", "·": ".", "│": "|", "║": "|", "─": "-", "━": "-",
    "└": "+", "┘": "+", "┌": "+", "┐": "+", "├": "+", "┤": "+", "┼": "+", "╷": "|", "╵": "|", "╌": "-", "┊": "|",
    "‹": "<", "›": ">", "→": "->", "←": "<-", "↑": "^", "↓": "v", "…": "...", "≤": "<=", "≥": ">=", "±": "+-", "µ": "u",
    "∞": "inf", "−": "-", "–": "-", "—": "-",
    "▁": "_", "▂": ".", "▃": ".", "▄": "-", "▅": "-", "▆": "=", "▇": "=", "█": "#",
}  # fmt: skip
_DOTS = range(0x2800, 0x2900)
"""Braille, of which curves are drawn; the first has no dot."""


def keep_to_encodings() -> None:
    """What stdout and stderr cannot encode becomes a plain sign; nothing is raised, and UTF-8 stays as it is.

    A name of a file that is no text is written with a sign in its place, too.
    """
    codecs.register_error(_HANDLER, _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_sign, error.object[error.start : error.end])), error.end


def _sign(character: str) -> str:
    if ord(character) in _DOTS:
        return ":" if ord(character) > _DOTS.start else " "
    return _PLAIN.get(character, "?")
