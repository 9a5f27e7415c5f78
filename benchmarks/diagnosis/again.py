"""Whether a job that was cut and is not broken should be cut again: fresh seeds of the tuning half, run to their ends.

    python -m benchmarks.diagnosis.again            # some seven minutes on two cores; a line for each way

No held-out task or optimizer is loaded.
"""

from __future__ import annotations

from typing import Any

from benchmarks.diagnosis.peers.policies import Hold, Steersman
from benchmarks.diagnosis.trial import try_all

from steersman.rules.facts import JobFacts

OCTAVES = (0, 1, 2, 3, 4, 5, 6)
SEEDS = (81, 82, 83, 84, 85, 86)


class Once(Steersman):
    """The daemon, but a job that was cut is cut again only where it is broken."""

    def by(self, prescribed: float, asked: float | None) -> float:
        """See `Steersman`."""
        cut = any(factor < 1.0 for _, factor, *_ in self.actions)
        return prescribed if prescribed > 1.0 or not cut or self.breaking() else 1.0


def ways(said: JobFacts) -> dict[str, Any]:
    """Doing nothing, the daemon, and one that cuts once."""
    return {"nothing": Hold(), "as shipped": Steersman(said), "once": Once(said)}


if __name__ == "__main__":
    try_all(ways, OCTAVES, SEEDS)
