"""A recording as a peer's detector sees it."""

from __future__ import annotations

import numpy as np
from benchmarks.diagnosis.peers.detectors import Run

from steersman.rules.samples import Samples


def view(samples: Samples) -> Run:
    """The series that peers look at."""
    column = samples.columns
    has = np.flatnonzero(column["val_loss"].present)
    return Run(
        column["loss"].values,
        column["grad_norm"].values,
        column["lr/0"].values,
        has,
        column["val_loss"].values[has],
    )
