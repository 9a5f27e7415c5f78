"""How far a rate that is too high should be cut at once: fresh seeds of the tuning half, run to their ends.

    python -m benchmarks.diagnosis.cuts             # some ten minutes on two cores; a line for each way

No held-out task or optimizer is loaded.
"""

from __future__ import annotations

from typing import Any

from benchmarks.diagnosis.peers.policies import Hold, Steersman
from benchmarks.diagnosis.trial import try_all

from steersman.rules.facts import JobFacts

OCTAVES = (0, 1, 2, 3, 4, 5)
SEEDS = (61, 62)
DEEP = 0.4


class Cutter(Steersman):
    """The daemon, but a deep cut is another where the loss has come down by a share of what it had risen."""

    def __init__(self, said: JobFacts, share: float, factor: float) -> None:
        super().__init__(said)
        self._share, self._factor = share, factor

    def by(self, prescribed: float, asked: float | None) -> float:
        """See `Steersman`."""
        known = self.engine.features()
        top, now = known.get("overshoot"), known.get("above_start")
        if prescribed >= DEEP or top is None or now is None or top - now < self._share * top:
            return prescribed
        return self._factor


def ways(said: JobFacts) -> dict[str, Any]:
    """Doing nothing, the daemon, and others."""
    return {
        "nothing": Hold(),
        "as shipped": Steersman(said),
        "half where it has come down by a quarter": Cutter(said, 0.25, 0.5),
        "half where it has come down by half": Cutter(said, 0.5, 0.5),
        "a third where it has come down by half": Cutter(said, 0.5, 0.35),
        "half where it has come down by three quarters": Cutter(said, 0.75, 0.5),
        "a half always": Cutter(said, -1.0, 0.5),
    }


if __name__ == "__main__":
    try_all(ways, OCTAVES, SEEDS)
