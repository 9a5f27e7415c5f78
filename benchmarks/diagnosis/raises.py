"""How far a rate that is too low should be raised at once: fresh seeds of the tuning half, run to their ends.

    python -m benchmarks.diagnosis.raises           # some four minutes on two cores; a line for each way

No held-out task or optimizer is loaded.
"""

from __future__ import annotations

from typing import Any

from benchmarks.diagnosis.peers.policies import Hold, Steersman
from benchmarks.diagnosis.trial import try_all

from steersman.rules.facts import JobFacts

OCTAVES = (-5, -4, -3, -2, -1, 0)
SEEDS = (51, 52)
SHARES = {"half of what is asked for": 0.5, "seven tenths": 0.7, "all": 1.0}
"""Of what is recommended, whatever else the prescription looks at; at most 16 times, all of it 64 times."""


class Raiser(Steersman):
    """The daemon, but a raise goes this share of the way."""

    def __init__(self, said: JobFacts, share: float) -> None:
        limit = 16.0 if share < 1.0 else 64.0
        super().__init__(said, (16.0, limit))
        self._share, self._limit = share, limit

    def by(self, prescribed: float, asked: float | None) -> float:
        """See `Steersman`."""
        if prescribed <= 1.0 or asked is None:
            return prescribed
        return min(max(self._share * asked, 2.0), self._limit)


def ways(said: JobFacts) -> dict[str, Any]:
    """Doing nothing, the daemon, and each share."""
    found: dict[str, Any] = {"nothing": Hold(), "as shipped": Steersman(said)}
    found.update({name: Raiser(said, share) for name, share in SHARES.items()})
    return found


if __name__ == "__main__":
    try_all(ways, OCTAVES, SEEDS)
