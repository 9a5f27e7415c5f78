"""Colours and signs of the dashboard, in one place. No meaning is carried by colour alone."""

from __future__ import annotations

from textual.theme import Theme

from steersman.cli.palette import CRITICAL, DIM, FAINT, GRADIENT, LR, NOTICE, TRAIN, VAL

__all__ = [
    "ADJUSTMENT_COLOURS", "ADJUSTMENT_SIGNS", "CRITICAL", "DIM", "FAINT", "GOOD", "GRADIENT", "LR", "NOTICE", "OWN_LR",
    "SEVERITY_COLOURS", "SEVERITY_SIGNS", "STATE_COLOURS", "THEME", "TRAIN", "VAL",
]  # fmt: skip

OWN_LR = "#5b6b7b"
GOOD = "#56d4a0"

SEVERITY_COLOURS = {"info": TRAIN, "warning": NOTICE, "critical": CRITICAL}
# each severity has a sign of its own, for eyes and terminals that do not tell colours apart
SEVERITY_SIGNS = {"info": "●", "warning": "▲", "critical": "◆"}
STATE_COLOURS = {
    "starting": TRAIN,
    "running": GOOD,
    "silent": NOTICE,
    "finished": DIM,
    "failed": CRITICAL,
    "killed": CRITICAL,
    "lost": NOTICE,
    "detached": DIM,
}
ADJUSTMENT_COLOURS = {
    "proposed": NOTICE,
    "approved": TRAIN,
    "armed": TRAIN,
    "applied": GOOD,
    "probation": GOOD,
    "kept": GOOD,
    "reverted": DIM,
    "refused": CRITICAL,
    "expired": DIM,
}
ADJUSTMENT_SIGNS = {
    "proposed": "?",
    "approved": "…",
    "armed": "…",
    "applied": "✓",
    "probation": "◷",
    "kept": "✓",
    "reverted": "↶",
    "refused": "✗",
    "expired": "✗",
}

THEME = Theme(
    name="steersman",
    primary="#6cb6ff",
    secondary="#b392f0",
    accent="#56d4a0",
    warning="#ffd166",
    error="#ff6b6b",
    success="#56d4a0",
    foreground="#d5dde5",
    background="#0e1419",
    surface="#141c23",
    panel="#1b252e",
    dark=True,
)
