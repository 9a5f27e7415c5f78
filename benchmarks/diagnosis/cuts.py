"""How far a rate that is too high should be cut at once: fresh seeds of the tuning half, run to their ends.

    python -m benchmarks.diagnosis.cuts             # some ten minutes on two cores; a line for each way

No held-out task or optimizer is loaded.
"""

from __future__ import annotations

from typing import Any

from benchmarks.diagnosis.peers.policies import Hold, Steersman
from benchmarks.diagnosis.trial import try_all

from steersman.rules.facts import JobFacts
from steersman.rules.prescribe import mends

OCTAVES = (0, 1, 2, 3, 4, 5)
SEEDS = (61, 62)
SIXTEENTH, THIRD, HALF = 1.0 / 16.0, 0.35, 0.5


class Cutter(Steersman):
    """The daemon, but with another least factor for a job that is cut deep.

    Args:
        said: what is known of the job.
        least: the factor, whatever the loss does.
        mending: the factor where the loss has come down again by a share of its rise.
        share: that share.
    """

    def __init__(self, said: JobFacts, least: float, mending: float, share: float = 0.5) -> None:
        super().__init__(said)
        self._least_cut, self._mending, self._share = least, mending, share

    def by(self, prescribed: float, asked: float | None) -> float:
        """See `Steersman`."""
        if prescribed >= HALF or asked is None:
            return prescribed
        known = {**dict.fromkeys(("overshoot", "above_start", "cusum")), **self.engine.features()}
        if mends(known, self._share):
            return max(asked, self._mending)
        return max(asked, THIRD if known.get("warmup") else self._least_cut)


def ways(said: JobFacts) -> dict[str, Any]:
    """Doing nothing, the daemon, and others."""
    return {
        "nothing": Hold(),
        "as shipped": Steersman(said),
        "a sixteenth, whatever the loss does": Cutter(said, SIXTEENTH, SIXTEENTH),
        "a third where it has come down by half": Cutter(said, SIXTEENTH, THIRD),
        "half where it has come down by a quarter": Cutter(said, SIXTEENTH, HALF, 0.25),
        "half where it has come down by half": Cutter(said, SIXTEENTH, HALF),
        "half where it has come down by three quarters": Cutter(said, SIXTEENTH, HALF, 0.75),
        "half always": Cutter(said, HALF, HALF),
    }


if __name__ == "__main__":
    try_all(ways, OCTAVES, SEEDS)
