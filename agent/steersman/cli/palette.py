"""Colours of what is drawn, in one place. No meaning is carried by colour alone."""

from __future__ import annotations

TRAIN = "#6cb6ff"
VAL = "#e0a458"
GRADIENT = "#b392f0"
LR = "#56d4a0"
DIM = "#7d8b99"
FAINT = "#3d4a57"
NOTICE = "#ffd166"
CRITICAL = "#ff6b6b"
