"""Hugging Face Trainer: `trainer_state.json`, or its `log_history` alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from steersman.rules.facts import JobFacts
from steersman.rules.readers.reading import ReadError, Series
from steersman.rules.recording import Recording

_RATES = ("learning_rate", "lr")


def read(path: Path) -> Recording:
    """Read one run.

    The loss is the mean over a logging interval. The trainer's NaN filter writes a loss of 0.0 beside a gradient norm
    that is no number: such a loss is NaN.

    Raises:
        ReadError: not JSON, or no such log in it.
        OSError: cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ReadError(f"not JSON: {error}") from None
    state = content if isinstance(content, dict) else {"log_history": content}
    history = state.get("log_history")
    if not isinstance(history, list):
        raise ReadError("no 'log_history' in it: is it a trainer_state.json?")
    series = Series()
    for row in history:
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            series.add(row["step"], dict(_values(row)))
    if not len(series):
        raise ReadError("'log_history' has no row with a step")
    planned = state.get("max_steps")
    facts = JobFacts(planned_steps=planned if isinstance(planned, int) and planned > 0 else 0)
    return Recording(str(path), path.stem, "huggingface", series.samples(), facts)


def _values(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    numbers = {k: float(v) for k, v in row.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    norm, loss = numbers.get("grad_norm"), numbers.get("loss")
    if norm is not None:
        yield "grad_norm", norm
    if loss is not None:
        yield "loss", float("nan") if loss == 0.0 and norm is not None and norm != norm else loss
    for name in _RATES:
        if name in numbers and "loss" in numbers:
            yield "lr/0", numbers[name]
            break
    for name, value in numbers.items():
        if name == "eval_loss":
            yield "val_loss", value
        elif name.startswith("eval_") and name.endswith("_loss"):
            yield f"val_loss/{name[5:-5]}", value
