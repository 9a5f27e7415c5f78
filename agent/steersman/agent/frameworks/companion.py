"""What the callbacks have in common: they begin to watch, pass on validation losses, and say how it ended."""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Mapping
from typing import Any

from steersman.agent.limits import Limits
from steersman.agent.watch import Watch, check_asked, watch

LEFT = "the process ended before the training did"

_log = logging.getLogger("steersman.frameworks")


class Companion:
    """Goes along with the trainings of one callback, one after the other. Only its making raises.

    Args:
        job: as for `watch`.
        policy: as for `watch`.
        limits: as for `watch`.
        daemon: as for `watch`.
        budget: as for `watch`.

    Raises:
        ValueError: a policy or a limit that does not exist, or a value that makes no sense.
    """

    def __init__(
        self,
        job: str | None,
        policy: str,
        limits: Limits | Mapping[str, Any] | None,
        daemon: str | None,
        budget: float,
    ) -> None:
        checked, address = check_asked(job, policy, limits, daemon, budget)
        self._asked = {"job": job, "policy": policy, "limits": checked, "daemon": address, "budget": budget}
        self._watch: Watch | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Frameworks copy and pickle their callbacks, for other processes too: a copy watches nothing yet.
        return {**self.__dict__, "_watch": None}

    @property
    def watching(self) -> bool:
        """Whether steps are being watched."""
        return self._watch is not None and self._watch.active

    def begin(self, optimizer: Any, model: Any, planned_steps: float) -> None:
        """A training begins. One that never said that it ended, as after an exception, has failed."""
        self.end("failed", "another training began in its place")
        try:
            planned = int(planned_steps) if 0 < planned_steps < 2**31 else None
            # Its keywords are those of the constructor, checked there.
            asked: dict[str, Any] = self._asked
            self._watch = watch(unwrapped(optimizer), model, planned_steps=planned, **asked)
            atexit.register(self._left)
        except Exception:  # noqa: BLE001 - the border of a guest: whatever is wrong with us, the job trains
            _log.warning("steersman could not begin to watch; the job goes on without it", exc_info=True)

    def log(self, losses: Mapping[str, Any]) -> None:
        """Validation losses by their set; `""` where there is only one set."""
        if self._watch is not None:
            self._watch.log(**{f"val_loss/{name}" if name else "val_loss": value for name, value in losses.items()})

    def end(self, outcome: str, message: str = "") -> None:
        """The training is over. Nothing happens where none was being watched."""
        ended, self._watch = self._watch, None
        if ended is not None:
            atexit.unregister(self._left)
            ended.close(outcome, message)

    def _left(self) -> None:
        # A framework that tells its callbacks of no exception leaves it to us to see that the training never ended.
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        self.end("failed", LEFT if error is None else f"{type(error).__name__} ended the program")


def unwrapped(optimizer: Any) -> Any:
    """The optimizer that steps, inside what a framework has put around it.

    Accelerate's and Fabric's wrappers are optimizers by name alone: torch never set them up, so its hooks do not run
    on them, and their `step` may do nothing, as while gradients accumulate.
    """
    for _ in range(8):
        inner = getattr(optimizer, "optimizer", None)
        if inner is None or "_optimizer_step_pre_hooks" in getattr(optimizer, "__dict__", {}):
            break
        optimizer = inner
    return optimizer
