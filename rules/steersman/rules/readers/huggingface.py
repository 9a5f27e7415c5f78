"""Hugging Face Trainer: `trainer_state.json`, or its `log_history` alone."""

from __future__ import annotations

import json
from pathlib import Path

from steersman.rules.facts import JobFacts
from steersman.rules.readers.jsonlines import opened
from steersman.rules.readers.lines import decode
from steersman.rules.readers.reading import Format, Log, ReadError
from steersman.rules.readers.table import TableBuilder

MAX_BYTES = 1 << 30
"""Bytes of a state at most: JSON that is one value is read as a whole, and takes ten times its size."""


def recognises(path: Path, head: bytes) -> bool:
    """Whether a file is a trainer's state, or a JSON list of objects."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"["):
        return start[1:].lstrip().startswith(b"{")
    if not start.startswith(b"{"):
        return False
    first = start.split(b"\n", 1)[0].rstrip()
    return (
        path.name == "trainer_state.json"
        or b'"log_history"' in start
        or (path.suffix == ".json" and not first.endswith(b"}"))
    )


def read(path: Path) -> list[Log]:
    """Read one run. The loss is the mean over a logging interval."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ReadError(f"one JSON value of {size >> 20} MiB, more than the {MAX_BYTES >> 20} that are read at once")
    raw = path.read_bytes()
    if not raw.strip():
        raise ReadError("it is empty")
    try:
        content = json.loads(decode(raw))
    except (ValueError, RecursionError) as error:
        raise ReadError(f"not JSON, or cut off: {error}"[:300]) from None
    state = content if isinstance(content, dict) else {"log_history": content}
    history = state.get("log_history")
    if not isinstance(history, list):
        raise ReadError("no 'log_history' in it: is it a trainer_state.json?")
    rows = [opened(row) for row in history if isinstance(row, dict)]
    if not rows:
        raise ReadError("its 'log_history' is empty: the job had logged nothing yet")
    builder = TableBuilder()
    builder.add(rows)
    planned = state.get("max_steps")
    whole = isinstance(planned, int) and not isinstance(planned, bool) and 0 < planned < 1 << 53
    facts = JobFacts(planned_steps=planned if whole and isinstance(planned, int) else 0)
    return [Log("", builder.table(), facts)]


FORMAT = Format("huggingface", "Hugging Face's trainer_state.json, or its log_history", recognises, read)
