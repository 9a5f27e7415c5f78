"""Whether there is somebody to draw for."""

from __future__ import annotations

import sys


def on_terminal() -> bool:
    """Whether keys can be read and a screen be drawn; Textual draws on stderr, and who pipes stdout wants lines."""
    return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()
