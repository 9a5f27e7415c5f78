"""Finds the logs below a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from steersman.rules.readers import huggingface, mlflow, tensorboard
from steersman.rules.readers.formats import FORMATS
from steersman.rules.readers.lines import head
from steersman.rules.readers.naming import decide
from steersman.rules.readers.reading import Format, ReadError, Wishes, reason

_SUFFIXES = {".json", ".jsonl", ".csv", ".tsv", ".txt", ".log", ".out", ".wandb", ".gz", ".ndjson"}
_CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")
_PASSED_OVER = {".git", "node_modules", "__pycache__", ".venv", "site-packages"}


@dataclass(frozen=True)
class Found:
    """A log that a search has found.

    Attributes:
        path: the file.
        source: what to call it: the folder as it was given, and the way from there.
        form: its format; None where it is still to be recognised.
        problem: why it cannot be read, where the search knows that already.
    """

    path: Path
    source: str
    form: Format | None = None
    problem: str = ""


def search(folder: Path, wishes: Wishes) -> Iterator[Found]:
    """The logs in a folder and below it, in the order of their names.

    A trainer keeps its state with every checkpoint, each a prefix of the next: the newest counts. A file whose name
    says nothing is taken where a look into it finds a loss.

    Raises:
        OSError: the folder cannot be read.
    """
    os.scandir(folder).close()
    closed: list[str] = []
    for place, folders, files in os.walk(folder, onerror=lambda error: closed.append(str(error.filename))):
        here = Path(place)
        checkpoints = sorted((int(m[1]), name) for name in folders if (m := _CHECKPOINT.match(name)))
        newest = checkpoints[-1][1] if checkpoints and "trainer_state.json" not in files else ""
        stale = {name for _, name in checkpoints if name != newest}
        folders[:] = sorted(f for f in folders if f not in _PASSED_OVER and f not in stale)
        if mlflow.is_run(here) and _wanted(mlflow.FORMAT, wishes):
            folders[:] = []
            yield Found(here, str(here), mlflow.FORMAT)
            continue
        parts = tensorboard.parts(here) if _wanted(tensorboard.FORMAT, wishes) else []
        if parts or (any("tfevents" in name for name in files) and _wanted(tensorboard.FORMAT, wishes)):
            joined = {path for _, path in parts}
            folders[:] = [f for f in folders if here / f not in joined]
            if parts or not tensorboard.is_aside(here):
                yield Found(here, str(here), tensorboard.FORMAT)
        for name in sorted(files):
            path = here / name
            try:
                form = _form(path, wishes)
            except OSError as error:
                yield Found(path, str(path), problem=reason(error))
                continue
            if form is not None:
                yield Found(path, str(path), form)
    for name in closed:
        yield Found(Path(name), name, problem="a folder that you may not look into")


def _form(path: Path, wishes: Wishes) -> Format | None:
    if path.suffix.lower() not in _SUFFIXES or "tfevents" in path.name or not path.is_file():
        return None
    first = head(path)
    for form in FORMATS:
        if not _wanted(form, wishes):
            continue
        if form.recognises(path, first):
            # A trainer's state has a name; any other JSON may be anything.
            sure = form.sure and (form is not huggingface.FORMAT or path.name == "trainer_state.json")
            return form if sure or _has_a_loss(path, form, wishes) else None
    return None


def _wanted(form: Format, wishes: Wishes) -> bool:
    return not wishes.format or wishes.format == form.name


def _has_a_loss(path: Path, form: Format, wishes: Wishes) -> bool:
    """Whether reading it would give a run: many a table and many a list of objects is no log of a training."""
    if path.stat().st_size > 256 << 20:
        return True
    try:
        for log in form.read(path):
            if "loss" in decide(log.table, wishes.columns).chosen:
                return True
    except (ReadError, OSError):
        return False
    return False
