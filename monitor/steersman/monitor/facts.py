"""What an agent said of a job when it opened it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class OptimizerFacts:
    """One optimizer of a rank; `overlay` is "effective", or in words why an overlay would not work."""

    class_name: str
    groups: tuple[str, ...] = ()
    parameters: int = 0
    overlay: str = ""


@dataclass(frozen=True)
class RankFacts:
    """One rank of a job."""

    rank: int
    pid: int = 0
    torch_version: str = ""
    python_version: str = ""
    device: str = ""
    optimizers: tuple[OptimizerFacts, ...] = ()


@dataclass(frozen=True)
class Facts:
    """One attempt of a job as its owner started it.

    Attributes:
        attempt_id: UUID.
        asked: the job name asked for.
        world_size: ranks of the whole job.
        policy: asked for by the owner; empty where not said.
        limits: asked for by the owner, by field name.
        command: the command line.
        user: who runs it.
        host: where it runs.
        started_at: seconds since the epoch.
        planned_steps: 0 where not known.
        way_in: "watch", "run" or "attach".
        ranks: by number, those that were named so far.
    """

    attempt_id: str
    asked: str
    world_size: int = 1
    policy: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)
    command: str = ""
    user: str = ""
    host: str = ""
    started_at: float = 0.0
    planned_steps: int = 0
    way_in: str = ""
    ranks: Mapping[int, RankFacts] = field(default_factory=dict)

    @property
    def optimizer(self) -> OptimizerFacts | None:
        """The first optimizer of the lowest rank that has told of one."""
        return next((self.ranks[r].optimizers[0] for r in sorted(self.ranks) if self.ranks[r].optimizers), None)

    def joined(self, other: Facts) -> Facts:
        """These facts with what a later hello of the same attempt adds: ranks, and a plan that was not known."""
        return replace(
            self,
            world_size=max(self.world_size, other.world_size),
            planned_steps=other.planned_steps or self.planned_steps,
            ranks={**self.ranks, **other.ranks},
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same value."""
        return {**asdict(self), "ranks": {str(n): asdict(r) for n, r in sorted(self.ranks.items())}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Facts:
        """Read what `to_json` wrote."""
        ranks = {}
        for number, rank in data["ranks"].items():
            optimizers = tuple(OptimizerFacts(**{**o, "groups": tuple(o["groups"])}) for o in rank["optimizers"])
            ranks[int(number)] = RankFacts(**{**rank, "optimizers": optimizers})
        return cls(**{**data, "ranks": ranks})
