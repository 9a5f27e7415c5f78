"""The series of a recording that are drawn."""

from __future__ import annotations

import numpy as np

from steersman.cli.chart import Chart, Curve, Mark
from steersman.cli.palette import CRITICAL, GRADIENT, LR, NOTICE, TRAIN, VAL
from steersman.rules.recording import Recording

MAX_SETS = 4
"""Validation sets drawn at most."""


def points(recording: Recording, series: str, name: str, style: str) -> Curve:
    """A series in the order of its steps."""
    column = recording.samples.columns[series]
    steps, values = recording.samples.steps[column.present], column.values[column.present]
    if len(steps) and (np.diff(steps) < 0).any():
        place = np.argsort(steps, kind="stable")
        steps, values = steps[place], values[place]
    return Curve(name, steps, values, style)


def charts(recording: Recording, onset: int | None, critical: bool) -> list[Chart]:
    """Loss, learning rate and gradient norm, as far as they were logged; the onset is marked on each."""
    columns = recording.samples.columns
    marks = () if onset is None else (Mark(onset, "▲", CRITICAL if critical else NOTICE, line=True),)
    losses = [points(recording, "loss", "train", TRAIN)] if "loss" in columns else []
    sets = [name for name in columns if name == "val_loss" or name.startswith("val_loss/")]
    for name in sets[:MAX_SETS]:
        losses.append(points(recording, name, name.partition("/")[2] or "val", VAL))
    shown = [Chart("loss", tuple(losses), marks, log=_positive(*losses), empty="no loss was logged")]
    rates = [name for name in columns if name.startswith("lr/")]
    if rates:
        rate = points(recording, min(rates), "", LR)
        shown.append(Chart("learning rate", (rate,), marks, from_zero=True))
    if "grad_norm" in columns:
        norm = points(recording, "grad_norm", "", GRADIENT)
        shown.append(Chart("gradient norm", (norm,), marks, log=_positive(norm)))
    return shown


def _positive(*curves: Curve) -> bool:
    """Whether there are finite values, and all of these are above zero."""
    finite = [curve.values[np.isfinite(curve.values)] for curve in curves]
    return any(map(len, finite)) and all(bool((values > 0).all()) for values in finite)
