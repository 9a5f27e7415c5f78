"""Waiting for what becomes of an adjustment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steersman.cli import views
    from steersman.cli.client import OperatorClient


def wait_until(
    client: OperatorClient, adjustment: views.Adjustment, timeout: float, done: Callable[[views.Adjustment], bool]
) -> views.Adjustment:
    """The adjustment once it is `done` or its job has ended, or as it stands after `timeout` seconds."""
    if done(adjustment):
        return adjustment
    deadline = time.monotonic() + timeout
    for job, adjustments in client.watch(adjustment.job, timeout):
        adjustment = next((a for a in adjustments if a.id == adjustment.id), adjustment)
        if done(adjustment) or not job.live or time.monotonic() > deadline:
            break
    return adjustment
