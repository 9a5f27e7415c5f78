"""From the paths of a command line to the runs that are logged there, one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from steersman.cli.report.outcome import Outcome
from steersman.cli.report.ownstore import is_database, is_store, read_store
from steersman.rules.packs import Pack
from steersman.rules.readers import ReadError, Wishes, mlflowdb, read_runs
from steersman.rules.readers.search import Found, Passed, search
from steersman.rules.replay import replay

Say = Callable[[str], None]


def outcomes(paths: Sequence[Path], wishes: Wishes, pack: Pack, say: Say, passed: Passed) -> Iterator[Outcome]:
    """Diagnose what lies at some paths. What is wrong with one stops none of the others.

    Args:
        paths: files and folders; a folder is searched.
        wishes: what the user says of the logs.
        pack: the rules.
        say: told what is at work, for a progress line.
        passed: told of files in a folder that look like logs, and of runs beside others, that are passed over, and why.
    """
    for path in paths:
        for found in _below(path, wishes, say, passed):
            if isinstance(found, Outcome):
                yield found
            else:
                yield from _of(found, wishes, pack, say, passed)


def _below(path: Path, wishes: Wishes, say: Say, passed: Passed) -> Iterator[Found | Outcome]:
    # Unlike path.is_dir() it is no error where a folder above may not be looked into: reading says so.
    if not os.path.isdir(path):
        yield Found(path, str(path))
        return
    say(f"searching {path}")
    number = 0
    try:
        for found in search(path, wishes, passed):
            number += 1
            yield found
        for file in sorted(path.rglob("*.db")):
            if is_database(file) and _is_wanted(file, wishes.format):
                number += 1
                yield Found(file, str(file))
    except OSError as error:
        yield Outcome(str(path), error=f"cannot be searched: {error.strerror or error}")
        return
    if not number:
        yield Outcome(str(path), error="no log of a known kind is in it; name the file itself, or --format")


def _is_wanted(database: Path, form: str) -> bool:
    if mlflowdb.is_database(database):
        return form in ("", "mlflow")
    return not form and is_store(database)


def _is_own(path: Path) -> bool:
    return is_database(path) and not mlflowdb.is_database(path)


def _of(found: Found, wishes: Wishes, pack: Pack, say: Say, passed: Passed) -> Iterator[Outcome]:
    if found.problem:
        yield Outcome(found.source, error=found.problem)
        return
    say(f"reading {found.source}")
    try:
        if found.form is None and not wishes.format and _is_own(found.path):
            runs = read_store(found.path, found.source, wishes)
        else:
            runs = read_runs(found.path, found.source, wishes, found.form, passed)
    except ReadError as error:
        yield Outcome(found.source, error=str(error))
        return
    for recording in runs:
        say(f"replaying {recording.name}, {len(recording.samples):,} points")
        yield Outcome(found.source, replay(recording, pack))
