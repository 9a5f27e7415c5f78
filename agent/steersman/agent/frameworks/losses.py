"""Which of the metrics that a training script logs are validation losses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(
    r"(?:val|valid|validation|eval|dev)[-_/. ](?:(?P<before>.+?)[-_/. ])?loss(?:[-_/. ](?P<after>.+))?", re.IGNORECASE
)


def validation_set(metric: str) -> str | None:
    """The validation set whose loss a metric of this name is, `""` for the only one; None where it is none.

    >>> validation_set("val_loss"), validation_set("validation/loss"), validation_set("eval_loss")
    ('', '', '')
    >>> validation_set("val_loss/dataloader_idx_1"), validation_set("eval_german_loss")
    ('dataloader_idx_1', 'german')
    >>> validation_set("train_loss"), validation_set("val_acc"), validation_set("val_loss_step")
    (None, None, None)
    """
    match = _NAME.fullmatch(metric)
    if match is None:
        return None
    before, after = match["before"] or "", match["after"] or ""
    if after == "step":  # Lightning's name for what one batch gave
        return None
    return "/".join(part for part in (before, "" if after == "epoch" else after) if part)


def validation_losses(metrics: Mapping[str, Any], names: Mapping[str, str] | None) -> dict[str, Any]:
    """The validation losses among metrics, by their set.

    Args:
        metrics: what was logged.
        names: the metrics that are validation losses, each with its set; None tells them by `validation_set`.
    """
    found: dict[str, Any] = {}
    for metric, value in metrics.items():
        known = names.get(metric) if names is not None else validation_set(str(metric))
        if known is not None:
            found[known] = value
    return found
