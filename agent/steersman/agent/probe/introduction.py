"""What a probe says of itself and its process when it meets an agent: the body of HELLO."""

from __future__ import annotations

import os
import platform
import sys
from typing import Any, Dict, List, Tuple

import torch

from .config import ProbeConfig
from .guard import Guard
from .seen import Seen


def introduction(
    config: ProbeConfig, attempt_id: str, started_at: float, optimizers: List[Seen], guard: Guard
) -> Dict[str, Any]:
    """The fields of HELLO, as docs/architecture.md has them.

    Args:
        config: what the owner said of the job.
        attempt_id: the one granted, or until then the one asked for.
        started_at: seconds since the epoch.
        optimizers: those that step, in the order of their numbers.
        guard: the border.
    """
    seen = [one for one in optimizers if one.ref() is not None]
    rank, world = _replica()
    rank = config.rank if config.rank is not None else rank
    world = config.world_size if config.world_size is not None else world
    return {
        "attempt_id": attempt_id,
        "rank": rank,
        "world_size": world,
        "pid": os.getpid(),
        "job": config.job,
        "policy": config.policy,
        "limits": config.limits,
        "command": config.command[:512],
        "way_in": config.way_in,
        "started_at": started_at,
        "planned_steps": config.planned_steps,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        **_described(seen, guard),
    }


def _described(seen: List[Seen], guard: Guard) -> Dict[str, Any]:
    """What HELLO can do without: a mistake in it must not keep the probe from saying anything at all."""
    try:
        return {
            "device": seen[0].device() if seen else "cpu",
            "optimizers": [one.describe() for one in seen],
        }
    except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
        guard.failed("when it described the optimizers")
        return {}


def _replica() -> Tuple[int, int]:
    """Rank and world size as the process group knows them, else as a launcher has put them into the environment."""
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank()), int(distributed.get_world_size())
    return _from_environment("RANK", 0), _from_environment("WORLD_SIZE", 1)


def _from_environment(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else default
