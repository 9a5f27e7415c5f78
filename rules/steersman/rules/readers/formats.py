"""All formats, in the order in which they are tried: those with a mark of their own before those without."""

from __future__ import annotations

from steersman.rules.readers import (
    coqui,
    delimited,
    export,
    huggingface,
    jsonlines,
    lightning,
    llamafactory,
    megatron,
    mlflow,
    moddednanogpt,
    nanogpt,
    plaintext,
    tensorboard,
    wandb,
)
from steersman.rules.readers.reading import Format

FORMATS: tuple[Format, ...] = (
    huggingface.FORMAT,
    llamafactory.FORMAT,
    tensorboard.FORMAT,
    lightning.FORMAT,
    wandb.FORMAT,
    mlflow.FORMAT,
    export.FORMAT,
    megatron.FORMAT,
    coqui.FORMAT,
    moddednanogpt.FORMAT,
    nanogpt.FORMAT,
    jsonlines.FORMAT,
    delimited.FORMAT,
    plaintext.FORMAT,
)


def by_name(name: str) -> Format | None:
    """The format of that name."""
    return next((form for form in FORMATS if form.name == name), None)
