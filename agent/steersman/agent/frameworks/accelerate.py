"""Accelerate: `watch(accelerator, optimizer)` once `accelerator.prepare` has given the optimizer back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steersman.agent.frameworks.companion import unwrapped
from steersman.agent.frameworks.losses import validation_losses
from steersman.agent.frameworks.need import need
from steersman.agent.watch import Watch
from steersman.agent.watch import watch as _watch

if TYPE_CHECKING:

    class GeneralTracker:
        """Stands for Accelerate's own, which a checker need not read."""
else:
    GeneralTracker = need("accelerate.tracking", "accelerate").GeneralTracker


def watch(
    accelerator: Any, optimizer: Any, model: Any = None, *, losses: Mapping[str, str] | None = None, **asked: Any
) -> Watch:
    """Watch the job that steps this optimizer of Accelerate's.

    While gradients accumulate, Accelerate's optimizer does nothing when it is stepped, and no step is counted.
    What the script gives to `accelerator.log` afterwards is looked through for validation losses (`val_loss`,
    `eval_loss`, `val_german_loss` and the like), and `accelerator.end_training()` ends the job as finished; call this
    after `accelerator.init_trackers` for that.

    Args:
        accelerator: the `Accelerator`.
        optimizer: as `accelerator.prepare` gave it back; one that was not prepared will do as well.
        model: the module it trains.
        losses: the logged values that are validation losses, each with its set's name (`""` for the only set), where
            they have names of their own.
        **asked: as for `steersman.agent.watch`: `job`, `policy`, `limits`, `daemon`, `planned_steps`, `budget`.

    Returns:
        A `Watch`, to log validation losses with and to close; it is also a context manager.

    Raises:
        ValueError: a policy or a limit that does not exist, or a value that makes no sense.
    """
    watching = _watch(unwrapped(optimizer), model, **asked)
    trackers = getattr(accelerator, "trackers", None)
    if isinstance(trackers, list):
        trackers.append(SteersmanTracker(watching, losses))
    return watching


class SteersmanTracker(GeneralTracker):
    """One of an Accelerator's trackers: passes validation losses on, and ends the job with the training.

    Args:
        watching: where they go.
        losses: as for `watch`.
    """

    name = "steersman"
    requires_logging_directory = False
    main_process_only = False

    def __init__(self, watching: Watch, losses: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._watching = watching
        self._losses = losses

    @property
    def tracker(self) -> Watch:
        """What stands behind it: the `Watch`."""
        return self._watching

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Nothing is kept of the run's configuration."""

    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Pass on what is a validation loss; `step` is the script's own count, Steersman has its own."""
        for name, value in validation_losses(values, self._losses).items():
            self._watching.log(val_loss=value, set=name)

    def finish(self) -> None:
        """`accelerator.end_training()` was called."""
        self._watching.close()
