"""What readers take and give."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from steersman.rules.facts import JobFacts
from steersman.rules.readers.table import Table


class ReadError(Exception):
    """A file that cannot be read as a run: what is wrong with it, and what to do."""


def reason(error: OSError) -> str:
    """Why the system gives no file, in words."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "you may not read it"
    return f"cannot be read: {os.strerror(error.errno) if error.errno else error}"


@dataclass(frozen=True)
class Wishes:
    """What the user says of a log, where guessing will not do.

    Attributes:
        columns: by series name (`step`, `loss`, `lr/GROUP`, `val_loss/SET`, …) the log's own name for it; an empty name
            leaves that series out.
        planned_steps: how many steps the job means to take; 0 where the log or nobody knows.
        optimizer: class name of the optimizer; empty where the log or nobody knows.
        format: name of a format; empty where it is to be recognised.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    planned_steps: int = 0
    optimizer: str = ""
    format: str = ""


@dataclass(frozen=True)
class Log:
    """One run under the names that its log has for things.

    Attributes:
        name: the run's own name; empty where it has none.
        table: its rows.
        facts: what the log says of the job.
        notes: what was left out or is damaged, a sentence each.
        known: by series name the log's own, where the format leaves nothing to guess.
        exact: whether its rows are what the engine of a live job had, so that nothing of them is to be mended.
    """

    name: str
    table: Table
    facts: JobFacts = field(default_factory=JobFacts)
    notes: tuple[str, ...] = ()
    known: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False


@dataclass(frozen=True)
class Format:
    """One kind of log.

    Attributes:
        name: as in `--format`.
        text: what it is, for people.
        recognises: whether a file is of this kind, by its path and its first bytes.
        read: its runs, at least one.
        sure: whether that recognition is good enough for a file that nobody named, in a folder that is searched.
    """

    name: str
    text: str
    recognises: Callable[[Path, bytes], bool]
    read: Callable[[Path], list[Log]]
    sure: bool = True
