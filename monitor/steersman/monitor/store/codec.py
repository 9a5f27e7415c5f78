"""How rows become bytes: little endian, bytes of equal weight side by side, zstd, a CRC32 over what is stored."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import zstandard

from steersman.rules.samples import Bools, Column, Floats, Ints, Samples

_T = TypeVar("_T")

_ALL_PRESENT = b"\x00"
_MASKED = b"\x01"
_HEAD = struct.Struct("<BIII")  # version, pieces, columns, rows
_PIECE = struct.Struct("<IQI")  # rank, first sequence number, rows
_PART = struct.Struct("<II")  # series number, bytes
_VERSION = 1
_LEVEL = 3


class DamagedError(Exception):
    """Bytes that are not those that were written; says what is wrong with them."""


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of one rank as a journal entry holds them."""

    rank: int
    first_seq: int
    samples: Samples


def encode_axis(steps: Ints, times: Floats) -> bytes:
    """Steps and times of a chunk."""
    return _compress(_axis(steps, times))


def decode_axis(data: bytes, rows: int) -> tuple[Ints, Floats]:
    """The opposite of `encode_axis`."""
    return _guarded(lambda: _read_axis(_decompress(data), rows))


def encode_column(column: Column) -> bytes:
    """Values and presence of one series; what stands where a value is absent is not kept."""
    return _compress(_column(column))


def decode_column(data: bytes, rows: int, unit: str) -> Column:
    """The opposite of `encode_column`; absent values are 0."""
    return _guarded(lambda: _read_column(_decompress(data), rows, unit))


def encode_pieces(pieces: Iterable[Piece], whole: Samples, numbers: Mapping[str, int]) -> bytes:
    """A journal entry: pieces of several ranks as one frame, because a row alone does not compress.

    Args:
        pieces: what is where, in order.
        whole: the rows of all pieces, joined.
        numbers: the number of each series.
    """
    heads = [_PIECE.pack(piece.rank, piece.first_seq, len(piece.samples)) for piece in pieces]
    parts = [_HEAD.pack(_VERSION, len(heads), len(whole.columns), len(whole)), *heads, _axis(whole.steps, whole.times)]
    for name, column in whole.columns.items():
        body = _column(column)
        parts += [_PART.pack(numbers[name], len(body)), body]
    return _compress(b"".join(parts))


def decode_pieces(data: bytes, names: Mapping[int, tuple[str, str]]) -> list[Piece]:
    """The opposite of `encode_pieces`; `names` gives name and unit by series number."""
    return _guarded(lambda: _read_pieces(_decompress(data), names))


def checksum(data: bytes) -> int:
    """The CRC32 stored beside `data`."""
    return zlib.crc32(data)


def checked(data: bytes, crc: int) -> bytes:
    """`data` itself.

    Raises:
        DamagedError: its CRC32 is another one.
    """
    if checksum(data) != crc:
        raise DamagedError(f"its checksum is {checksum(data):08x}, and {crc & 0xFFFFFFFF:08x} was written")
    return data


def _axis(steps: Ints, times: Floats) -> bytes:
    # Differences of the bits, modulo 2^64: exact for every value, and nearly constant for a steady pace.
    return _shuffle(_delta(steps.astype("<i8").view("<u8"))) + _shuffle(_delta(times.astype("<f8").view("<u8")))


def _read_axis(raw: bytes, rows: int) -> tuple[Ints, Floats]:
    half = rows * 8
    steps = np.cumsum(_unshuffle(raw[:half], rows), dtype=np.uint64)
    times = np.cumsum(_unshuffle(raw[half : 2 * half], rows), dtype=np.uint64)
    return steps.view(np.int64), times.view(np.float64)


def _column(column: Column) -> bytes:
    if column.present.all():
        return _ALL_PRESENT + _shuffle(column.values.astype("<f8").view("<u8"))
    mask = np.packbits(column.present).tobytes()
    return _MASKED + mask + _shuffle(column.values[column.present].astype("<f8").view("<u8"))


def _read_column(raw: bytes, rows: int, unit: str) -> Column:
    if raw[:1] == _ALL_PRESENT:
        values = _unshuffle(raw[1:], rows).view(np.float64)
        return Column(values, np.ones(rows, np.bool_), unit)
    size = (rows + 7) // 8
    present: Bools = np.unpackbits(np.frombuffer(raw, np.uint8, size, 1), count=rows).astype(np.bool_)
    values = np.zeros(rows, np.float64)
    values[present] = _unshuffle(raw[1 + size :], int(present.sum())).view(np.float64)
    return Column(values, present, unit)


def _read_pieces(raw: bytes, names: Mapping[int, tuple[str, str]]) -> list[Piece]:
    version, count, columns, rows = _HEAD.unpack_from(raw)
    if version != _VERSION:
        raise DamagedError(f"it is of version {version}, which this Steersman does not know")
    at = _HEAD.size
    heads = [_PIECE.unpack_from(raw, at + i * _PIECE.size) for i in range(count)]
    at += count * _PIECE.size
    steps, times = _read_axis(raw[at : at + 16 * rows], rows)
    at += 16 * rows
    read: dict[str, Column] = {}
    for _ in range(columns):
        number, size = _PART.unpack_from(raw, at)
        at += _PART.size
        name, unit = names[number]
        read[name] = _read_column(raw[at : at + size], rows, unit)
        at += size
    whole = Samples(steps, times, read)
    pieces: list[Piece] = []
    start = 0
    for rank, first_seq, length in heads:
        pieces.append(Piece(rank, first_seq, whole.rows(start, start + length)))
        start += length
    return pieces


def _delta(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    return np.diff(bits, prepend=np.uint64(0))


def _shuffle(bits: npt.NDArray[np.uint64]) -> bytes:
    return np.ascontiguousarray(bits).view(np.uint8).reshape(-1, 8).T.tobytes()


def _unshuffle(raw: bytes, rows: int) -> npt.NDArray[np.uint64]:
    lanes = np.frombuffer(raw, np.uint8, rows * 8).reshape(8, rows)
    return np.ascontiguousarray(lanes.T).reshape(-1).view("<u8").astype(np.uint64)


def _compress(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL).compress(raw)


def _decompress(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)


def _guarded(read: Callable[[], _T]) -> _T:
    try:
        return read()
    except (zstandard.ZstdError, ValueError, struct.error, KeyError) as error:
        raise DamagedError(f"it does not decode: {error}") from error
