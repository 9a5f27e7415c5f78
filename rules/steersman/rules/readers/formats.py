"""All formats, in the order in which they are tried."""

from __future__ import annotations

from steersman.rules.readers import delimited, huggingface, jsonlines, lightning, llamafactory
from steersman.rules.readers.reading import Format

FORMATS: tuple[Format, ...] = (
    huggingface.FORMAT,
    llamafactory.FORMAT,
    lightning.FORMAT,
    jsonlines.FORMAT,
    delimited.FORMAT,
)


def by_name(name: str) -> Format | None:
    """The format of that name."""
    return next((form for form in FORMATS if form.name == name), None)
