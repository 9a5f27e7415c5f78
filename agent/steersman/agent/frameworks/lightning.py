"""Lightning's Trainer, under either of its names: `Trainer(callbacks=[SteersmanCallback()])`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steersman.agent.frameworks.companion import Companion
from steersman.agent.frameworks.losses import validation_losses
from steersman.agent.frameworks.need import need
from steersman.agent.limits import Limits

if TYPE_CHECKING:

    class Callback:
        """Stands for Lightning's own, which a checker need not read."""
else:
    # Two packages with the same code and classes of their own; the one that the script has imported is the one it uses.
    # Lightning asks a callback for its methods, not for its class, so that the other's is taken as well.
    _imported = [name for name in ("lightning.pytorch", "pytorch_lightning") if name in sys.modules]
    _old_name_alone = not importlib.util.find_spec("lightning") and importlib.util.find_spec("pytorch_lightning")
    _name = _imported[0] if _imported else "pytorch_lightning" if _old_name_alone else "lightning.pytorch"
    Callback = need(_name, "lightning").Callback


class SteersmanCallback(Callback):
    """Watches every `Trainer.fit()`: a job each, from the first step to the last, or to the exception that ended it.

    Lightning tells the planned steps. Validation losses are what the module logs as such: `val_loss`, `val/loss`,
    `valid_loss`, `eval_loss` and the like, with the set's name where there are several (`val_german_loss`,
    `val_loss/dataloader_idx_1`). Those of the sanity check, before any training, are left out.

    Args:
        job: a name for people; derived from the script's name where it is left out.
        policy: what the daemon may do alone: `observe`, `advise`, `approve` or `auto`.
        limits: bounds on every change, a `Limits` or a mapping with its names.
        daemon: HOST:PORT of the daemon; STEERSMAN_DAEMON or 127.0.0.1:7461 where it is left out.
        budget: seconds that the probe may always cost a step.
        losses: the logged metrics that are validation losses, each with its set's name (`""` for the only set), where
            they have names of their own.

    Raises:
        ValueError: a policy or a limit that does not exist, or a value that makes no sense.
    """

    def __init__(
        self,
        job: str | None = None,
        policy: str = "observe",
        limits: Limits | Mapping[str, Any] | None = None,
        daemon: str | None = None,
        budget: float = 100e-6,
        losses: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._companion = Companion(job, policy, limits, daemon, budget)
        self._losses = losses

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The optimizers are there, and no step has been made."""
        # Shown the first; the others the probe meets when they step.
        optimizer = next(iter(trainer.optimizers), None)
        if optimizer is not None:
            self._companion.begin(optimizer, pl_module, _planned(trainer, pl_module))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """The validation sets have been gone through."""
        if not trainer.sanity_checking:
            self._companion.log(validation_losses(trainer.callback_metrics, self._losses))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """All steps were made, or somebody stopped the training in an orderly way."""
        self._companion.end("finished")

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """An exception ended the training, or Ctrl-C."""
        self._companion.end("failed", f"{type(exception).__name__} in the training loop")


def _planned(trainer: Any, module: Any) -> float:
    """Optimizer steps to come, 0 where nobody knows: a module that steps by itself decides alone how often."""
    if not getattr(module, "automatic_optimization", False):
        return 0
    try:
        return float(trainer.estimated_stepping_batches)
    except Exception:  # noqa: BLE001 - the border of a guest: Lightning raises where it cannot tell
        return 0
