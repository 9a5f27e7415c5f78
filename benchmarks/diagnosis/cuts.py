"""How far the rate of a broken job should be cut at once: fresh seeds of the tuning half, run to their ends.

    python -m benchmarks.diagnosis.cuts             # some seven minutes on two cores; a line for each way

No held-out task or optimizer is loaded.
"""

from __future__ import annotations

from typing import Any

from benchmarks.diagnosis.peers.policies import Hold, Steersman
from benchmarks.diagnosis.trial import try_all

from steersman.rules.facts import JobFacts

OCTAVES = (0, 1, 2, 3, 4, 5)
SEEDS = (61, 62, 63, 64, 65, 66, 67, 68)
LEAST = {"half": 0.5, "a quarter": 0.25, "an eighth": 0.125, "a sixteenth": 1.0 / 16.0}


class Cutter(Steersman):
    """The daemon, but with another least factor for a job that is broken."""

    def __init__(self, said: JobFacts, least: float) -> None:
        super().__init__(said)
        self._least_cut = least

    def by(self, prescribed: float, asked: float | None) -> float:
        """See `Steersman`."""
        return prescribed if prescribed >= 0.5 or asked is None else max(asked, self._least_cut)


def ways(said: JobFacts) -> dict[str, Any]:
    """Doing nothing, the daemon, and each factor."""
    found: dict[str, Any] = {"nothing": Hold(), "as shipped": Steersman(said)}
    found.update({name: Cutter(said, least) for name, least in LEAST.items()})
    return found


if __name__ == "__main__":
    try_all(ways, OCTAVES, SEEDS)
