"""As much of the protobuf wire format as two kinds of log need."""

from __future__ import annotations

import struct
from collections.abc import Iterator

Field = tuple[int, int, int, int]
"""Number, kind, and either value and 0, or start and end of its bytes."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class BrokenError(Exception):
    """Bytes that are no message."""


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number and where it ends.

    Raises:
        BrokenError: it does not end, or is longer than 64 bits.
    """
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise BrokenError("a number that does not end")


def fields(data: bytes, at: int = 0, end: int | None = None) -> Iterator[Field]:
    """The fields of a message; those of a kind that nobody writes any more end it.

    Raises:
        BrokenError: a field that reaches beyond the message.
    """
    end = len(data) if end is None else end
    while at < end:
        key, at = varint(data, at, end)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = varint(data, at, end)
            yield number, kind, value, 0
            continue
        if kind == BYTES:
            size, at = varint(data, at, end)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise BrokenError(f"a field of kind {kind}")
        if size > end - at:
            raise BrokenError("a field that is cut off")
        yield number, kind, at, at + size
        at += size


def signed(value: int) -> int:
    """A varint as int64."""
    return value - (1 << 64) if value >= 1 << 63 else value


def text(data: bytes, start: int, end: int) -> str:
    """A field of bytes as text."""
    return bytes(data[start:end]).decode("utf-8", errors="replace")


def float32(data: bytes, at: int) -> float:
    """A fixed field of four bytes."""
    return float(struct.unpack_from("<f", data, at)[0])


def float64(data: bytes, at: int) -> float:
    """A fixed field of eight bytes."""
    return float(struct.unpack_from("<d", data, at)[0])
