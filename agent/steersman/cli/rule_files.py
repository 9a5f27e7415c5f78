"""Rule files on the command line: what is wrong with them is printed whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from steersman.cli.errors import CommandError
from steersman.cli.words import plural
from steersman.rules.packs import Pack, PackError, load_pack, shipped_pack

T = TypeVar("T")

SHIPPED = "shipped"
"""The word for the shipped pack where a rule file is asked for."""


def read_whole(read: Callable[[], T], hint: str, to_stderr: bool = False, what: str = "the rule files") -> T:
    """Read files; every mistake in them becomes a line, and all together a failure."""
    try:
        return read()
    except PackError as error:
        for mistake in error.mistakes:
            click.echo(str(mistake), err=to_stderr)
        raise CommandError(f"{plural(len(error.mistakes), 'mistake')} in {what}", hint) from None


def places(files: Sequence[Path]) -> list[Path]:
    """Where rules lie: the word `shipped` is the folder of the shipped pack."""
    return [shipped_pack() if str(path) == SHIPPED else path for path in files]


def load_rules(files: Sequence[Path], to_stderr: bool = False) -> Pack:
    """The rules of these files and folders as one pack; `shipped` is the shipped pack, and so is nothing at all."""
    return read_whole(lambda: load_pack(places(files)), "features and keys are listed in docs/rules.md", to_stderr)
