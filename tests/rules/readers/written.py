"""Writes logs as others do, byte by byte where the format is binary."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from steersman.rules.readers import Wishes, read_runs
from steersman.rules.recording import Recording
from steersman.rules.samples import Column


def one(path: Path, **wishes: object) -> Recording:
    """The only run of a file."""
    runs = read_runs(path, str(path), Wishes(**wishes))  # type: ignore[arg-type]  # as the test says
    assert len(runs) == 1
    return runs[0]


def values(run: Recording, series: str) -> list[float | None]:
    """A series with None where it is unknown."""
    column: Column = run.samples.columns[series]
    return [v if p else None for v, p in zip(column.values.tolist(), column.present.tolist(), strict=True)]


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, body: bytes | int | float) -> bytes:
    """A field of a protobuf message: a whole number, a double, or bytes."""
    if isinstance(body, bytes):
        return varint(number << 3 | 2) + varint(len(body)) + body
    if isinstance(body, float):
        return varint(number << 3 | 1) + struct.pack("<d", body)
    return varint(number << 3) + varint(body)


def record(event: bytes) -> bytes:
    """A record of an event file; nobody looks at its checksums."""
    return struct.pack("<Q", len(event)) + b"\0" * 4 + event + b"\0" * 4


def event(time: float, step: int, value: bytes) -> bytes:
    """An event with one value of a summary; as protobuf has it, a step of 0 is not written."""
    return record(field(1, time) + (field(2, step) if step else b"") + field(5, field(1, value)))


def simple(tag: str, value: float) -> bytes:
    """A value as torch and Keras 2 write it."""
    return field(1, tag.encode()) + b"\x15" + struct.pack("<f", value)


def tensor(tag: str, value: float) -> bytes:
    """A value as TensorFlow 2 writes it: a tensor of no dimension."""
    return field(1, tag.encode()) + field(8, field(1, 1) + field(2, b"") + field(5, struct.pack("<f", value)))


VERSION = record(field(1, 1.7e9) + field(3, b"brain.Event:2"))


def event_file(path: Path, *values: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(VERSION + b"".join(values))
    return path


def wandb_log(records: Iterable[bytes]) -> bytes:
    """A log in blocks of 32 KiB, as LevelDB has it; a record that does not fit is parted."""
    out = bytearray(b":W&B\xe1\xbe\0")
    for whole in records:
        rest, first = whole, True
        while True:
            left = 32768 - len(out) % 32768
            if left < 7:
                out += b"\0" * left
                continue
            piece, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if first else 4) if not rest else (2 if first else 3)
            out += b"\0" * 4 + struct.pack("<HB", len(piece), kind) + piece
            first = False
            if not rest:
                break
    return bytes(out)


def history(**cells: str) -> bytes:
    """A row of a W&B log, values as JSON."""
    items = [field(1, field(2, name.encode()) + field(16, value.encode())) for name, value in cells.items()]
    return field(2, b"".join(items))
