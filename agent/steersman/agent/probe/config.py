"""What a probe is told when it is installed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional


@dataclass(frozen=True)
class ProbeConfig:
    """Who this process is, where its agent listens, and what its owner allows.

    Attributes:
        attempt_id: UUID of this run of the job, the same for all its ranks.
        job: the name asked for; the daemon may grant another.
        socket_path: the agent's AF_UNIX socket. Nobody need listen there yet.
        policy: `observe`, `advise`, `approve` or `auto`; passed on, not judged here.
        limits: the fields of the protobuf message `Limits` that the owner set; enforced by the agent.
        command: the command line, for people.
        way_in: `watch`, `run` or `attach`.
        planned_steps: optimizer steps that the job means to make; 0 where nobody knows.
        rank: None reads RANK from the environment, 0 without it.
        world_size: None reads WORLD_SIZE from the environment, 1 without it.
        budget_fraction: share of the median step time that the probe may cost.
        budget_floor: seconds a step that it may always cost.
        sample_every: steps between two samples of the direction.
        losses: whether torch's loss functions are patched, for validation losses; not where dynamo has compiled frames
            already, for it would compile them once more.
    """

    attempt_id: str
    job: str
    socket_path: str
    policy: str = "observe"
    limits: Dict[str, Any] = field(default_factory=dict)
    command: str = ""
    way_in: str = "watch"
    planned_steps: int = 0
    rank: Optional[int] = None
    world_size: Optional[int] = None
    budget_fraction: float = 0.005
    budget_floor: float = 100e-6
    sample_every: int = 10
    losses: bool = True
