"""Weights & Biases: the `run-ID.wandb` file of a run, offline or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from steersman.rules.readers import wire
from steersman.rules.readers.hints import facts_of
from steersman.rules.readers.reading import Format, Log, ReadError
from steersman.rules.readers.table import TableBuilder

_MARK = b":W&B"
_BLOCK = 32768
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
# fields of a record
_HISTORY, _CONFIG, _RUN = 2, 4, 17
_DISPLAY_NAME = 8
_ROWS = 8192
MAX_BYTES = 4 << 30
"""Bytes of a file at most; it is read as a whole."""


def recognises(path: Path, head: bytes) -> bool:
    """Whether it begins with this log's mark."""
    del path
    return head.startswith(_MARK)


def read(path: Path) -> list[Log]:
    """Read one run. A last record that is cut off is normal: the job was killed, or still runs."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ReadError(f"it has {size >> 30} GiB, more than the {MAX_BYTES >> 30} that are read")
    builder = TableBuilder()
    rows: list[dict[str, object]] = []
    settings: dict[str, object] = {}
    name = ""
    damaged = 0
    with path.open("rb") as file:
        for record in _records(file.read()):
            if record is None:
                damaged += 1
                continue
            try:
                for number, kind, start, end in wire.fields(record):
                    if kind != wire.BYTES:
                        continue
                    if number == _HISTORY:
                        rows.append(dict(_items(record, start, end)))
                    elif number == _CONFIG:
                        settings.update(_items(record, start, end))
                    elif number == _RUN:
                        name = _run(record, start, end, settings) or name
            except wire.BrokenError:
                damaged += 1
            if len(rows) >= _ROWS:
                builder.add(rows)
                rows = []
    builder.add(rows)
    if not builder.rows:
        raise ReadError("it has no row of history: nothing was logged, or it is damaged")
    notes = (f"{damaged} records are damaged or cut off: left out",) if damaged else ()
    return [Log(name, builder.table(), facts_of(settings), notes)]


def _records(data: bytes) -> Iterator[bytes | None]:
    """The records of a log in blocks; None for one that is damaged or cut off."""
    at, parts = 7, list[bytes]()
    while at + 7 <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        if kind == 0 and length == 0:
            at += left
            continue
        if kind > _LAST or length > left - 7:
            yield None
            # The next block begins with a record of its own, whatever has happened to this one.
            at, parts = at + left, []
            continue
        piece = data[at + 7 : at + 7 + length]
        at += 7 + length
        if len(piece) < length:
            yield None
            return
        if kind == _FULL:
            yield piece
        elif kind == _FIRST:
            parts = [piece]
        elif parts:
            parts.append(piece)
            if kind == _LAST:
                yield b"".join(parts)
                parts = []


def _items(record: bytes, at: int, stop: int) -> Iterator[tuple[str, object]]:
    """Names and values of a row of history or of settings."""
    for number, kind, start, end in wire.fields(record, at, stop):
        if number == 1 and kind == wire.BYTES:
            name, value = _item(record, start, end)
            if isinstance(value, int | float | str):
                yield name, value


def _item(record: bytes, at: int, stop: int) -> tuple[str, object]:
    """One name and its value: as JSON, or, since 2025, by its kind."""
    name, nested = "", list[str]()
    value: object = None
    for part, kind, start, end in wire.fields(record, at, stop):
        if kind == wire.BYTES and part == 1:
            name = wire.text(record, start, end)
        elif kind == wire.BYTES and part == 2:
            nested.append(wire.text(record, start, end))
        elif kind == wire.VARINT and part in (4, 5):
            value = wire.signed(start)
        elif kind == wire.FIXED64 and part == 6:
            value = wire.float64(record, start)
        elif kind == wire.BYTES and part == 7:
            value = wire.text(record, start, end)
        elif kind == wire.BYTES and part == 16:
            value = _json(wire.text(record, start, end))
    return name or "/".join(nested), value


def _json(said: str) -> object:
    try:
        value = json.loads(said)
    except (ValueError, RecursionError):
        return None
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


def _run(record: bytes, at: int, stop: int, settings: dict[str, object]) -> str:
    """The display name of a run; its settings go where the others are."""
    identity = name = ""
    for number, kind, start, end in wire.fields(record, at, stop):
        if kind == wire.BYTES and number == 1:
            identity = wire.text(record, start, end)
        elif kind == wire.BYTES and number == 4:
            settings.update(_items(record, start, end))
        elif kind == wire.BYTES and number == _DISPLAY_NAME:
            name = wire.text(record, start, end)
    return (name or identity)[:120]


FORMAT = Format("wandb", "a W&B run's run-ID.wandb, offline too", recognises, read)
