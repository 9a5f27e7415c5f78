"""Lines of a file of any size: bounded in memory, whatever is in it."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from steersman.rules.readers.reading import ReadError

BLOCK = 4 << 20
"""Bytes read at a time."""

MAX_BYTES = 8 << 30
"""Bytes read of one file at most."""

MAX_LINE = 1 << 20
"""Bytes of a line at most; a longer one is no row of a log, and is passed over."""

MAX_ROWS = 50_000_000
"""Rows read of one file at most: more would not fit into the memory of most machines."""

HEAD = 512 << 10
"""Bytes by which a format is recognised."""

GZIP = b"\x1f\x8b"
_OLDER = "steersman-cp1252"
_MOST_OLDER = 100_000
"""Signs that are not UTF-8 in one piece of a text; with more of them it is none."""
_WIDE = (b"\xff\xfe", b"\xfe\xff")


def head(path: Path) -> bytes:
    """The first bytes of a file, unpacked where it is a gzip, and as UTF-8 where it is UTF-16.

    Raises:
        OSError: cannot be read.
    """
    with path.open("rb") as file:
        first = file.read(HEAD)
    if first.startswith(GZIP):
        try:
            return zlib.decompressobj(wbits=31).decompress(first, HEAD)
        except zlib.error:
            return first
    if first.startswith(_WIDE):
        return first[: len(first) // 2 * 2].decode("utf-16", errors="replace").encode()
    return first


def decode(raw: bytes) -> str:
    """Text as UTF-8, or as UTF-16 where it begins with its mark; single bytes that are neither are read as
    Windows wrote them before it had UTF-8, and what is no text at all becomes a sign for that.
    """
    if raw.startswith(_WIDE):
        return raw.decode("utf-16", errors="replace")
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    text = raw.decode("utf-8", errors="replace")
    return raw.decode("utf-8", errors=_OLDER) if 0 < text.count("\ufffd") <= _MOST_OLDER else text


def _older(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", errors="replace"), error.end


codecs.register_error(_OLDER, _older)


def text_blocks(path: Path) -> Iterator[str]:
    """A file in pieces that end with a line; carriage returns end lines, too, as progress bars write them.

    Raises:
        ReadError: larger than `MAX_BYTES`, or a damaged gzip with nothing before the damage.
        OSError: cannot be read.
    """
    rest = b""
    wide = False
    skipping = False
    for number, block in enumerate(_blocks(path)):
        if number == 0:
            wide = block.startswith(_WIDE)
        if wide:
            rest += block
            if len(rest) > MAX_BYTES >> 4:
                raise ReadError("it is in UTF-16 and too large for that: convert it to UTF-8 first")
            continue
        if skipping:
            end = block.find(b"\n")
            if end < 0:
                continue
            block, skipping = block[end + 1 :], False
        end = block.rfind(b"\n")
        if end < 0:
            rest += block
            if len(rest) > MAX_LINE:
                rest, skipping = b"", True
            continue
        yield _ended(decode(rest + block[: end + 1]))
        rest = block[end + 1 :]
    if rest and not skipping:
        yield _ended(decode(rest))


def cut_off(path: Path) -> bool:
    """Whether a file is a gzip that ends before its end, or is damaged from somewhere on.

    Raises:
        OSError: cannot be read.
    """
    with path.open("rb") as raw:
        if raw.read(2) != GZIP:
            return False
        raw.seek(0)
        total = 0
        with gzip.GzipFile(fileobj=raw) as file:
            try:
                while total <= MAX_BYTES and (block := file.read1(BLOCK)):
                    total += len(block)
            except (EOFError, zlib.error, gzip.BadGzipFile):
                return True
    return False


def _ended(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _blocks(path: Path) -> Iterator[bytes]:
    total = 0
    with path.open("rb") as raw:
        packed = raw.read(2) == GZIP
        raw.seek(0)
        if not packed and path.stat().st_size > MAX_BYTES:
            raise ReadError(f"it has {path.stat().st_size >> 30} GiB, more than the {MAX_BYTES >> 30} that are read")
        with gzip.GzipFile(fileobj=raw) if packed else raw as file:
            while True:
                try:
                    # Of a gzip that is cut off, read1 gives what is before the cut.
                    block = file.read1(BLOCK) if packed else file.read(BLOCK)
                except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                    if total:
                        return
                    raise ReadError(f"a damaged gzip: {error}") from None
                if not block:
                    return
                total += len(block)
                if total > MAX_BYTES:
                    raise ReadError(f"unpacked it has more than the {MAX_BYTES >> 30} GiB that are read")
                yield block
