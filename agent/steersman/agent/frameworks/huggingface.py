"""Hugging Face's Trainer: `Trainer(..., callbacks=[SteersmanCallback()])`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steersman.agent.frameworks.companion import Companion
from steersman.agent.frameworks.need import need
from steersman.agent.limits import Limits

if TYPE_CHECKING:

    class TrainerCallback:
        """Stands for transformers' own, which a checker need not read."""
else:
    TrainerCallback = need("transformers", "transformers").TrainerCallback


class SteersmanCallback(TrainerCallback):
    """Watches every `Trainer.train()`: a job each, from the first step to the last.

    The Trainer tells the planned steps, and each evaluation's loss: `val_loss`, or `val_loss/SET` for each of several
    evaluation sets. Its logged loss is the mean over `logging_steps`; Steersman's is that of each step.
    `train()` that ends with an exception ends the job as failed, when the next one begins or the process ends: the
    Trainer tells nobody before. Goes on every rank, as the Trainer puts it there anyway.

    Args:
        job: a name for people; derived from the script's name where it is left out.
        policy: what the daemon may do alone: `observe`, `advise`, `approve` or `auto`.
        limits: bounds on every change, a `Limits` or a mapping with its names.
        daemon: HOST:PORT of the daemon; STEERSMAN_DAEMON or 127.0.0.1:7461 where it is left out.
        budget: seconds that the probe may always cost a step.

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
    ) -> None:
        self._companion = Companion(job, policy, limits, daemon, budget)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The optimizer is there, and no step has been made."""
        self._companion.begin(kwargs.get("optimizer"), kwargs.get("model"), state.max_steps or 0)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """One evaluation set has been gone through."""
        self._companion.log(losses(metrics or {}))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """All steps were made, or somebody stopped the training in an orderly way."""
        self._companion.end("finished")


def losses(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The validation losses that an evaluation of the Trainer found, by set.

    The Trainer's own, that is: it writes PREFIX_runtime beside them, which a metric of the user's has not.

    >>> losses({"eval_loss": 2.0, "eval_runtime": 0.1, "eval_mlm_loss": 3.0})
    {'': 2.0}
    >>> losses({"eval_german_loss": 2.5, "eval_german_runtime": 0.1})
    {'german': 2.5}
    """
    found = {}
    for name, value in metrics.items():
        prefix = name.removesuffix("_loss")
        if prefix != name and f"{prefix}_runtime" in metrics:
            found["" if prefix == "eval" else prefix.removeprefix("eval_")] = value
    return found
