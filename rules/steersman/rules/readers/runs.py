"""From a path to the runs that are logged there."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from steersman.rules.readers.assemble import assemble
from steersman.rules.readers.formats import FORMATS, by_name
from steersman.rules.readers.lines import GZIP, cut_off, head
from steersman.rules.readers.reading import Format, ReadError, Wishes, reason
from steersman.rules.readers.split import split
from steersman.rules.recording import Recording


def read_runs(
    path: Path,
    source: str,
    wishes: Wishes,
    form: Format | None = None,
    passed: Callable[[str, str], None] = lambda name, reason: None,
) -> list[Recording]:
    """The runs that one file holds; at least one.

    Args:
        path: the file.
        source: what to call it.
        wishes: what the user says of it.
        form: its format, where a search has recognised it.
        passed: told of each run that cannot be read beside others that can, and why.

    Raises:
        ReadError: it holds none that can be read, with what is wrong and what to do.
    """
    collecting = gc.isenabled()
    # Rows by the million are no garbage, and looking through them for some takes longer than reading them.
    gc.disable()
    try:
        if str(path) == "-" and not path.exists():
            raise ReadError("standard input is not read: write it into a file, and name that")
        if path.exists() and not path.is_file() and not path.is_dir():
            # It can be read once only, and recognising it is reading it.
            raise ReadError("it is a pipe or a device: write it into a file first")
        form = form or recognised(path, wishes)
        logs = [part for log in form.read(path) for part in split(log)]
        if logs and path.is_file() and cut_off(path):
            words = "it is a gzip that is cut off or damaged: what comes after that is not in it"
            logs[-1] = replace(logs[-1], notes=(*logs[-1].notes, words))
        several = len(logs) > 1
        runs: list[Recording] = []
        problems: list[tuple[str, ReadError]] = []
        for k, log in enumerate(logs):
            name = f"{run_name(path)} {k + 1}" if several else run_name(path)
            try:
                runs.append(assemble(source, name, form.name, log, wishes))
            except ReadError as error:
                problems.append((log.name or name, ReadError("; ".join((str(error), *log.notes)))))
    except OSError as error:
        raise ReadError(reason(error)) from None
    except MemoryError:
        raise ReadError("it does not fit into the memory of this machine") from None
    finally:
        if collecting:
            gc.enable()
    if not runs:
        raise problems[-1][1] if problems else ReadError("there is no run in it")
    for name, problem in problems:
        passed(f"{source}: {name}", str(problem))
    return runs


def recognised(path: Path, wishes: Wishes) -> Format:
    """The format of a file.

    Raises:
        ReadError: none that is known.
        OSError: cannot be read.
    """
    if wishes.format:
        form = by_name(wishes.format)
        if form is None:
            raise ReadError(f"there is no format {wishes.format!r}; there are {', '.join(f.name for f in FORMATS)}")
        return form
    first = b"" if path.is_dir() else head(path)
    if not first.strip() and not path.is_dir():
        raise ReadError(_UNPACKED if cut_off(path) else "it is empty")
    for form in FORMATS:
        if form.recognises(path, first):
            return form
    if first.startswith(GZIP):
        raise ReadError(_UNPACKED)
    raise ReadError("no log of a known kind; --format says which it is (steersman diagnose --help lists them)")


def run_name(path: Path) -> str:
    """What to call the run of a file: its own name, or its folder's where all files of the kind have the same."""
    if path.is_dir():
        return "/".join(path.resolve().parts[-2:])
    if path.name in _SAME_NAMES or path.name.startswith("events.out.tfevents"):
        parts = [part for part in path.parent.parts if not part.startswith("checkpoint-") and part not in ("/", "..")]
        return "/".join(parts[-2:]) or path.stem
    return path.stem


_UNPACKED = "a damaged gzip: nothing of it can be unpacked"
_SAME_NAMES = {
    "trainer_state.json", "trainer_log.jsonl", "metrics.csv", "log.txt", "train.log", "output.log", "trainer_0_log.txt",
}  # fmt: skip
