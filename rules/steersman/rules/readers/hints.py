"""What the settings that a log was opened with say of the job."""

from __future__ import annotations

from collections.abc import Mapping

from steersman.rules.facts import JobFacts
from steersman.rules.readers.names import PLANNED, plain

_OPTIMIZERS = ("optimizer", "optim", "optimizer_name", "optimizer_type", "opt", "optimizer_class")
_CLASSES = {
    "adamw": "AdamW", "adam": "Adam", "sgd": "SGD", "adafactor": "Adafactor", "lion": "Lion", "rmsprop": "RMSprop",
    "adagrad": "Adagrad", "lamb": "Lamb", "lars": "LARS", "muon": "Muon", "sophia": "Sophia", "nadam": "NAdam",
    "paged": "AdamW", "radam": "RAdam", "prodigy": "Prodigy",
}  # fmt: skip


def facts_of(settings: Mapping[str, object]) -> JobFacts:
    """Optimizer and planned steps, where settings name them.

    Example:
        >>> facts_of({"max_steps": "300", "optim": "adamw_torch"})
        JobFacts(optimizer='AdamW', planned_steps=300, joined=False)
    """
    planned, optimizer = 0, ""
    for name, value in settings.items():
        known = plain(str(name).rpartition("/")[2])
        if known in PLANNED and not planned:
            planned = _whole(value)
        if known in _OPTIMIZERS and not optimizer and isinstance(value, str):
            optimizer = optimizer_class(value)
    return JobFacts(optimizer, planned)


def optimizer_class(word: str) -> str:
    """The class name behind what people call an optimizer.

    Example:
        >>> optimizer_class("adamw_bnb_8bit"), optimizer_class("torch.optim.SGD"), optimizer_class("MyOwn")
        ('AdamW', 'SGD', 'MyOwn')
    """
    last = word.strip()[:80].rpartition(".")[2]
    return _CLASSES.get(plain(last).replace("adam_w", "adamw").partition("_")[0], last)


def _whole(value: object) -> int:
    try:
        number = float(value) if isinstance(value, int | float | str) else 0.0
    except (ValueError, OverflowError):
        return 0
    return int(number) if 0 < number < 1e15 else 0
