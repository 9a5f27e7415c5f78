"""Finds the logs below a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from steersman.rules.readers import huggingface, mlflow, names, tensorboard
from steersman.rules.readers.formats import FORMATS
from steersman.rules.readers.lines import head
from steersman.rules.readers.names import plain
from steersman.rules.readers.naming import decide
from steersman.rules.readers.reading import Format, ReadError, Wishes, reason
from steersman.rules.readers.runs import recognised

_SUFFIXES = {".json", ".jsonl", ".csv", ".tsv", ".txt", ".log", ".out", ".wandb", ".gz", ".ndjson"}
_LOGS = {".csv", ".tsv", ".jsonl", ".ndjson", ".wandb", ".log", ".out"}
"""Suffixes of files that are logs, by all that is known before they are read."""
_PROSE = {".log", ".out"}
"""Those of them that may as well have words alone."""
_STATE = "trainer_state.json"
_LARGE = 256 << 20
"""Bytes of a file that is not read before it is taken."""
_OF_A_TRAINING = frozenset((*names.STEP, *names.EPOCH, *names.LEARNING_RATE, *names.GRAD_NORM))
"""Columns by which a table without a loss is seen to be a log all the same."""
_CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")
_PASSED_OVER = {".git", "node_modules", "__pycache__", ".venv", "site-packages"}


Passed = Callable[[str, str], None]
"""Takes what to call a file, and why it is passed over."""


def _unsaid(source: str, reason: str) -> None:
    """Passes over files and says nothing of them."""
    del source, reason


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


def search(folder: Path, wishes: Wishes, passed: Passed = _unsaid) -> Iterator[Found]:
    """The logs in a folder and below it, in the order of their names.

    A trainer keeps its state with every checkpoint, each a prefix of the next: the newest counts. A file whose name
    says nothing is taken where a look into it finds a loss.

    Args:
        folder: as it was given.
        wishes: what the user says of the logs.
        passed: told of each file that looks like a log and is passed over, with the reason.

    Raises:
        OSError: the folder cannot be read.
    """
    os.scandir(folder).close()
    closed: list[str] = []
    for place, folders, files in os.walk(folder, onerror=lambda error: closed.append(str(error.filename))):
        here = Path(place)
        checkpoints = sorted((int(m[1]), name) for name in folders if (m := _CHECKPOINT.match(name)))
        newest = checkpoints[-1][1] if checkpoints and _STATE not in files else ""
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
                form, lacks = _look(path, wishes)
            except OSError as error:
                yield Found(path, str(path), problem=reason(error))
                continue
            if form is not None:
                yield Found(path, str(path), form)
            elif lacks:
                passed(str(path), lacks)
    for name in closed:
        yield Found(Path(name), name, problem="a folder that you may not look into")


def _look(path: Path, wishes: Wishes) -> tuple[Format | None, str]:
    """The format of a file that is taken; and of one that is not, though it looks like a log, why."""
    if path.suffix.lower() not in _SUFFIXES or "tfevents" in path.name or not path.is_file():
        return None, ""
    first = head(path)
    for form in FORMATS if first.strip() else ():
        if not _wanted(form, wishes):
            continue
        if form.recognises(path, first):
            # A trainer's state has a name; any other JSON may be anything.
            sure = form.sure and (form is not huggingface.FORMAT or path.name == _STATE)
            if sure or path.stat().st_size > _LARGE:
                return form, ""
            lacks = _lacks(path, form, wishes, first)
            return (form, "") if lacks is None else (None, lacks)
    if wishes.format or not _is_named_as_log(path) or (first.strip() and path.suffix.lower() in _PROSE):
        return None, ""
    try:
        recognised(path, wishes)
    except ReadError as error:
        return None, str(error)
    return None, ""


def _is_named_as_log(path: Path) -> bool:
    name = Path(path.stem) if path.suffix.lower() == ".gz" else path
    return name.suffix.lower() in _LOGS or name.name == _STATE


def _wanted(form: Format, wishes: Wishes) -> bool:
    return not wishes.format or wishes.format == form.name


def _lacks(path: Path, form: Format, wishes: Wishes, first: bytes) -> str | None:
    """None where reading a file would give a run. Otherwise why it would not, which is empty of what is no log.

    Many a table and many a list of objects is no log of a training.
    """
    try:
        logs = form.read(path)
    except ReadError as error:
        # Many a result and many a dashboard is one JSON object that speaks of losses.
        rows = b'"log_history"' in first or (b"loss" in first.lower() and not first.lstrip().startswith(b"{"))
        return str(error) if rows or _is_named_as_log(path) else ""
    reason = ""
    for log in logs:
        try:
            if "loss" in decide(log.table, wishes.columns).chosen:
                return None
            reason = reason or "it has no loss of a training, of validation alone: name the file itself"
        except ReadError as error:
            if any(plain(name) in _OF_A_TRAINING for name in log.table.columns):
                reason = reason or str(error)
    return reason
