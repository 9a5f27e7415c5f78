"""What logs call things: the names that are known, and how others are understood."""

from __future__ import annotations

import re
from collections.abc import Sequence

STEP = (
    "optimizer_step", "global_step", "trainer_global_step", "train_global_step", "current_steps", "global_steps",
    "num_updates", "train_num_updates", "step", "steps", "train_step", "training_step", "iteration", "iterations",
    "iter", "iters", "it", "global_iter", "n_iter", "niter", "global_batch_idx", "update", "updates", "num_steps",
    "batch_num", "tick", "_step", "batch", "batch_idx", "i",
)  # fmt: skip
"""Names of the optimizer step, the surest first; all as `plain` writes them."""

EPOCH = ("epoch", "epochs", "train_epoch", "trainer_epoch", "current_epoch", "epoch_num")
"""Names that stand in where there is no step."""

TIME = ("wall_time", "_timestamp", "timestamp", "time_stamp", "created_at", "unix_time", "epoch_time_s", "time", "ts")
"""Names of seconds since the epoch, where the values look like it."""

PLANNED = ("total_steps", "max_steps", "planned_steps", "num_training_steps", "max_iters", "train_iters", "total_iters")
"""Names of how many steps the job means to take."""

LOSS = (
    "loss", "train_loss", "training_loss", "loss_train", "loss_training", "lm_loss", "train_lm_loss", "train_loss_step",
    "step_loss", "loss_step", "train_step_loss", "batch_loss", "train_batch_loss", "total_loss", "loss_total",
    "train_total_loss", "train_loss_total", "tr_loss", "trn_loss", "train_ce_loss", "ce_loss", "cross_entropy_loss",
    "train_cross_entropy_loss", "cross_entropy", "train_cross_entropy", "nll_loss", "train_nll_loss",
    "train_nll", "nll", "avg_loss", "loss_avg", "mean_loss", "loss_mean", "running_loss", "smooth_loss", "loss_smooth",
    "train_loss_epoch", "epoch_loss", "loss_epoch", "train_epoch_loss", "objective", "cost", "train_cost", "value",
)  # fmt: skip
"""Names of the training loss, the surest first."""

GRAD_NORM = (
    "grad_norm", "gnorm", "train_grad_norm", "train_gnorm", "gradient_norm", "grad_norm_total", "total_grad_norm",
    "global_grad_norm", "grad_global_norm", "grad_2_0_norm_total", "grad_norm_step", "optim_total_grad_norm",
    "optimizer_grad_norm", "total_norm", "global_norm", "gradnorm", "grad_norm_before_clip", "grad_l2_norm",
    "l2_norm_grad_global", "norm_grad", "grads_norm", "gn", "g_norm",
)  # fmt: skip
"""Names of the gradient's norm."""

LEARNING_RATE = ("learning_rate", "lr", "train_learning_rate", "train_lr", "current_lr", "cur_lr", "optimizer_lr",
                 "lrate", "learn_rate")  # fmt: skip
"""Names of the learning rate where there is one for all groups."""

OTHERS: dict[str, Sequence[str]] = {
    "loss_scale": ("loss_scale", "train_loss_scale", "grad_scale", "grad_scaler_scale", "scaler_scale", "amp_scale",
                   "amp_scaler", "scaler", "lossscale", "current_loss_scale"),
    "skipped_steps": ("skipped_steps", "skipped_iterations", "number_of_skipped_iterations", "num_skipped_iterations",
                      "skipped_iters", "num_overflows", "overflow", "overflows", "skipped"),
    "clipped": ("clipped", "grad_clipped", "is_clipped", "clip", "train_clip", "grad_was_clipped", "clip_rate"),
    "clipped_norm": ("clipped_norm", "grad_norm_after_clip", "clipped_grad_norm"),
    "weight_norm": ("weight_norm", "params_norm", "param_norm", "parameter_norm", "weights_norm"),
    "batch_size": ("batch_size", "train_batch_size", "global_batch_size", "effective_batch_size"),
    "update_norm": ("update_norm",),
    "hypergrad_cos": ("hypergrad_cos",),
    "predicted_decrease": ("predicted_decrease",),
    "nan_steps": ("number_of_nan_iterations", "nan_iterations"),
}  # fmt: skip
"""Names of what else the rules may ask for, by series."""

PHASE = {"split", "phase", "mode", "stage", "subset", "set", "dataset_split", "type", "kind"}
"""Columns of words that say which part of the data a row speaks of."""

RUN = {"run", "run_id", "run_name", "runid", "experiment", "experiment_name", "trial", "trial_id", "exp"}
"""Columns of words that say whose row it is."""

HELD_OUT = {"val", "valid", "validation", "eval", "evaluation", "dev", "heldout", "holdout", "test"}
"""Words that say that a loss was not trained on."""

_AGGREGATES = {"best", "min", "max", "std", "var", "ema", "delta", "diff", "ratio", "gap", "scale", "weight", "norm",
               "change", "target", "improvement", "lr", "scaler", "count", "time", "runtime"}  # fmt: skip
_NOT_A_RATE = {"scheduler", "scale", "mult", "multiplier", "decay", "factor", "min", "max", "base", "initial", "init",
               "peak", "ratio", "warmup", "loss", "fallback", "reduction"}  # fmt: skip

_NO_GROUP = "train|training|trainer|current|cur|optimi[sz]er|optim|opt|metrics|params?|schedule"


def plain(name: str) -> str:
    """A name without what differs from one log to the next.

    Example:
        >>> plain("Train/Loss"), plain("lm loss"), plain("lr-AdamW"), plain("gradNorm")
        ('train_loss', 'lm_loss', 'lr_adam_w', 'grad_norm')
    """
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:200])
    return (
        re.sub(r"[^a-z0-9]+", "_", parted.lower()).rstrip("_").lstrip("_")
        if not name.startswith("_")
        else ("_" + re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_"))
    )


def words_of(name: str) -> list[str]:
    """The words of a name; `held_out` and `hold_out` are one each."""
    return re.sub(r"(?<![a-z])(held|hold)_out(?![a-z])", r"\1out", plain(name)).strip("_").split("_")


def loss_set(name: str) -> str | None:
    """The set that a validation loss is of, empty for the only one; None where the name is no validation loss.

    Example:
        >>> loss_set("eval_loss"), loss_set("val/wiki/loss"), loss_set("eval_g0_loss"), loss_set("train/loss")
        ('', 'wiki', 'g0', None)
    """
    words = words_of(name)
    if not HELD_OUT & set(words) or not {"loss", "nll"} & set(words) or _AGGREGATES & set(words):
        return None
    rest = [w for w in words if w not in HELD_OUT and w not in ("loss", "nll", "epoch", "step", "avg", "mean", "total",
                                                                "train", "lm", "ce", "metrics", "losses")]  # fmt: skip
    if "test" in words and not (HELD_OUT - {"test"}) & set(words):
        rest.insert(0, "test")
    return "_".join(rest)


def is_some_loss(name: str) -> bool:
    """Whether a name that is not in `LOSS` may yet be a training loss."""
    words = words_of(name)
    return "loss" in words and not HELD_OUT & set(words) and not _AGGREGATES & set(words)


def is_some_norm(name: str) -> bool:
    """Whether a name that is not in `GRAD_NORM` may yet be the gradient's norm."""
    words = plain(name).strip("_").split("_")
    return bool({"grad", "gradient", "grads", "gradients"} & set(words)) and "norm" in words and len(words) <= 4


def rate_group(name: str) -> str | None:
    """The parameter group that a learning rate is of, `0` for the only one; None where the name is no learning rate.

    Example:
        >>> rate_group("lr"), rate_group("lr-AdamW/pg1"), rate_group("train/learning_rate"), rate_group("current_lr_0")
        ('0', 'AdamW/pg1', '0', '0')
        >>> rate_group("lr_scheduler_step") is None
        True
    """
    if plain(name) in LEARNING_RATE:
        return "0"
    words = plain(name).strip("_").split("_")
    if _NOT_A_RATE & set(words):
        return None
    found = re.search(r"(?i)(?<![a-z])(?:lr|learning[ _./-]?rates?)(?![a-z])", name)
    if found is None:
        return None
    rest = name[found.end() :].strip(" _-./:[](){}") or name[: found.start()].strip(" _-./:[](){}")
    rest = re.sub(
        r"(?i)^(?:train|training|trainer|current|cur|optimi[sz]er|optim|opt|metrics|params?|schedule)$", "", rest
    )
    rest = re.sub(r"(?i)^(?:group|pg|param_group)[ _-]?(?=\d)", "", rest)
    return rest[:80] or "0"
