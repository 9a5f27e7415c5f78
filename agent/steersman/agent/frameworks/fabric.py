"""Lightning's Fabric: `watch(fabric, optimizer)` once `fabric.setup` has given the optimizer back."""

from __future__ import annotations

from typing import Any

from steersman.agent.frameworks.companion import unwrapped
from steersman.agent.watch import Watch
from steersman.agent.watch import watch as _watch


def watch(fabric: Any, optimizer: Any, model: Any = None, **asked: Any) -> Watch:
    """Watch the job that steps this optimizer of Fabric's.

    A function, as Fabric's callbacks learn of an optimizer only after its first step.

    Args:
        fabric: the `Fabric`, launched.
        optimizer: as `fabric.setup` gave it back; one that Fabric has not set up will do as well.
        model: the module it trains.
        **asked: as for `steersman.agent.watch`: `job`, `policy`, `limits`, `daemon`, `planned_steps`, `budget`.

    Returns:
        A `Watch`, to log validation losses with and to close; it is also a context manager.

    Raises:
        ValueError: a policy or a limit that does not exist, or a value that makes no sense.
    """
    return _watch(unwrapped(optimizer), model, **asked)
