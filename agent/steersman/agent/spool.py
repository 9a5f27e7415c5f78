"""What has not yet reached the daemon's disk, kept on ours: a segmented append log of one attempt."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 256 * 1024 * 1024
"""Bound of one attempt's spool; past it the oldest whole segments go, and their rows are counted as lost."""

SEGMENT_BYTES = 4 * 1024 * 1024
MEMORY_BYTES = 8 * 1024 * 1024
"""Bound of what is kept in memory while the disk takes nothing."""

_HEAD = struct.Struct("<II")  # length of what follows, its CRC-32
_BODY = struct.Struct("<BIQI")  # kind, rank, first sequence number (of a mark: all up to it is durable), rows
_ROWS = 1
_MARK = 2
_SUFFIX = ".seg"


@dataclass(frozen=True)
class Entry:
    """Rows of one rank in the spool.

    Attributes:
        rank: whose.
        first_seq: sequence number of the first row.
        rows: how many.
        segment: number of the segment that holds them; -1 where the disk refused them.
        offset: where their record begins in it.
        size: length of the record.
        payload: the rows themselves where the disk refused them, else empty.
    """

    rank: int
    first_seq: int
    rows: int
    segment: int
    offset: int
    size: int
    payload: bytes = b""

    @property
    def last_seq(self) -> int:
        """Sequence number of the last row."""
        return self.first_seq + self.rows - 1


class Spool:
    """An append log that is trimmed on durable acknowledgements only, and survives the agent's death at any byte.

    Writing never raises: when the disk is full or broken, rows stay in bounded memory, `failures` counts and
    `last_failure` says why. A torn tail is cut off when the log is opened again.

    Args:
        folder: of this attempt alone; made by `open`.
        max_bytes: bound of the files.
        segment_bytes: size at which a new file is begun.
        memory_bytes: bound of what the disk refused.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int = MAX_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.folder = folder
        self.failures = 0
        self.last_failure = ""
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._memory_bytes = memory_bytes
        self._entries: dict[int, deque[Entry]] = {}
        self._durable: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._live: dict[int, int] = {}  # entries not yet durable, by segment
        self._lost: dict[int, int] = {}
        self._in_memory = 0
        self._number = -1
        self._file = -1
        self._unsynced: list[int] = []
        self._dirty = False

    def open(self) -> None:
        """Read what an earlier agent left; a record that is torn or damaged ends its segment.

        Where there is no room for the folder, it is tried again with each record.

        Raises:
            OSError: the folder cannot be read.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._failed(error)
            return
        for number in sorted(int(p.stem) for p in self.folder.glob("*" + _SUFFIX) if p.stem.isdigit()):
            self._recover(number)
            self._number = number
        for rank, mark in list(self._durable.items()):
            self._forget(rank, mark)
        self._trim()

    def append(self, rank: int, first_seq: int, rows: int, payload: bytes) -> None:
        """Keep rows. They survive this process at once, and the host once `unsynced` has been flushed."""
        self._last[rank] = first_seq + rows - 1
        record = _record(_ROWS, rank, first_seq, rows, payload)
        offset = self._write(record)
        if offset < 0:
            entry = Entry(rank, first_seq, rows, -1, 0, len(record), payload)
            self._in_memory += entry.size
        else:
            entry = Entry(rank, first_seq, rows, self._number, offset, len(record))
            self._live[self._number] = self._live.get(self._number, 0) + 1
        self._entries.setdefault(rank, deque()).append(entry)
        self._bound()

    def ack(self, rank: int, durable_seq: int) -> None:
        """The daemon has all rows of a rank up to this one on disk: let them go."""
        if durable_seq <= self._durable.get(rank, 0):
            return
        self._durable[rank] = durable_seq
        self._last[rank] = max(self._last.get(rank, 0), durable_seq)
        if self._forget(rank, durable_seq):
            # Without it a restarted agent would send what the daemon has; harmless, but it might be a lot.
            self._write(_record(_MARK, rank, durable_seq, 0, b""))
            self._trim()

    def entries(self, rank: int, after_seq: int = 0) -> Iterator[Entry]:
        """What is kept of a rank with rows beyond `after_seq`, in order."""
        return (entry for entry in list(self._entries.get(rank, ())) if entry.last_seq > after_seq)

    def read(self, entry: Entry) -> bytes | None:
        """The rows of an entry; None where the disk no longer gives them back, and they count as lost."""
        if entry.segment < 0:
            return entry.payload
        payload = self._load(entry)
        if payload is None:
            self._drop({entry})
        return payload

    def _load(self, entry: Entry) -> bytes | None:
        try:
            with self._path(entry.segment).open("rb") as file:
                file.seek(entry.offset)
                record = file.read(entry.size)
        except OSError as error:
            self._failed(error)
            return None
        length, crc = _HEAD.unpack_from(record) if len(record) >= _HEAD.size else (-1, 0)
        if length != len(record) - _HEAD.size or zlib.crc32(record[_HEAD.size :]) != crc:
            self.failures += 1
            self.last_failure = f"{self._path(entry.segment)} is damaged at byte {entry.offset}"
            return None
        return record[_HEAD.size + _BODY.size :]

    def ranks(self) -> list[int]:
        """The ranks of which anything is or was kept."""
        return sorted(self._last)

    def last_seq(self, rank: int) -> int:
        """The highest sequence number ever kept of a rank; 0 for none."""
        return self._last.get(rank, 0)

    def pending_rows(self) -> int:
        """Rows that are not yet durable at the daemon."""
        return sum(entry.rows for entries in self._entries.values() for entry in entries)

    def take_lost(self) -> dict[int, int]:
        """Rows by rank that had to be dropped since this was asked last."""
        lost, self._lost = self._lost, {}
        return lost

    def size(self) -> int:
        """Bytes on disk."""
        return sum(self._sizes.values())

    def unsynced(self) -> list[int]:
        """File descriptors to hand to `flush`, which may run in another thread; empty where all is on disk."""
        found, self._unsynced = self._unsynced, []
        if self._dirty and self._file >= 0:
            self._dirty = False
            found.append(os.dup(self._file))
        return found

    def close(self) -> None:
        """Write everything to disk and let go of the files, which stay."""
        problem = flush(self.unsynced())
        if problem is not None:
            self._failed(problem)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def remove(self) -> None:
        """Delete everything: the daemon has it all."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}{_SUFFIX}"

    def _recover(self, number: int) -> None:
        path = self._path(number)
        data = path.read_bytes()
        good = 0
        for offset, kind, rank, seq, rows, size in _records(data):
            good = offset + size
            if kind == _MARK:
                self._durable[rank] = max(self._durable.get(rank, 0), seq)
                self._last[rank] = max(self._last.get(rank, 0), seq)
            elif kind == _ROWS:
                self._entries.setdefault(rank, deque()).append(Entry(rank, seq, rows, number, offset, size))
                self._last[rank] = max(self._last.get(rank, 0), seq + rows - 1)
                self._live[number] = self._live.get(number, 0) + 1
        if good < len(data):
            os.truncate(path, good)
        self._sizes[number] = good

    def _write(self, record: bytes) -> int:
        """Append a record; its offset, or -1 where the disk refused it."""
        try:
            if self._file < 0 or self._sizes.get(self._number, 0) >= self._segment_bytes:
                self._begin_segment()
            offset = self._sizes[self._number]
            view = memoryview(record)
            try:
                while view:
                    view = view[os.write(self._file, view) :]
            except OSError:
                # Half a record in the middle would hide all that follows it.
                os.ftruncate(self._file, offset)
                raise
        except OSError as error:
            self._failed(error)
            return -1
        self._sizes[self._number] += len(record)
        self._dirty = True
        return offset

    def _begin_segment(self) -> None:
        if self._file >= 0:
            if self._dirty:
                self._unsynced.append(os.dup(self._file))
                self._dirty = False
            os.close(self._file)
            self._file = -1
        number = self._number + 1
        self.folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self._path(number), flags, 0o600)
        self._number = number
        self._sizes[number] = 0
        self._unsynced.append(os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC))  # the new name, too

    def _forget(self, rank: int, durable_seq: int) -> bool:
        entries = self._entries.get(rank, deque())
        any_gone = False
        while entries and entries[0].last_seq <= durable_seq:
            self._release(entries.popleft())
            any_gone = True
        return any_gone

    def _release(self, entry: Entry) -> None:
        if entry.segment < 0:
            self._in_memory -= entry.size
        else:
            self._live[entry.segment] -= 1

    def _trim(self) -> None:
        """Delete segments before the current one that hold nothing the daemon still needs, oldest first."""
        for number in sorted(self._sizes):
            if number == self._number and self._file >= 0:
                break
            # A newer segment may hold the marks for older rows, so the order must be kept.
            if self._live.get(number, 0):
                break
            self._delete(number)

    def _delete(self, number: int) -> None:
        try:
            self._path(number).unlink(missing_ok=True)
        except OSError as error:
            self._failed(error)
        self._sizes.pop(number, None)
        self._live.pop(number, None)

    def _bound(self) -> None:
        while self.size() > self._max_bytes and len(self._sizes) > 1:
            oldest = min(self._sizes)
            self._drop({entry for entries in self._entries.values() for entry in entries if entry.segment == oldest})
            self._delete(oldest)
        if self._in_memory > self._memory_bytes:
            # All of it would be simpler, but half leaves the newest rows, which say how the job stands.
            excess = [e for entries in self._entries.values() for e in entries if e.segment < 0]
            self._drop(set(excess[: (len(excess) + 1) // 2]))

    def _drop(self, gone: Set[Entry]) -> None:
        for rank, entries in self._entries.items():
            kept: deque[Entry] = deque()
            for entry in entries:
                if entry in gone:
                    self._lost[rank] = self._lost.get(rank, 0) + entry.rows
                    self._release(entry)
                else:
                    kept.append(entry)
            self._entries[rank] = kept

    @property
    def unwritten(self) -> str:
        """Why what it keeps would be lost with this process; empty where it is on disk."""
        return self.last_failure if self._in_memory or not self.folder.exists() else ""

    def _failed(self, error: OSError) -> None:
        self.failures += 1
        self.last_failure = f"{error.strerror or error} ({self.folder})"


def flush(descriptors: Iterable[int]) -> OSError | None:
    """Bring files to disk and close them; the first error, if there is one. Safe in another thread."""
    first: OSError | None = None
    for descriptor in descriptors:
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            first = first or error
        finally:
            os.close(descriptor)
    return first


def _record(kind: int, rank: int, seq: int, rows: int, payload: bytes) -> bytes:
    body = _BODY.pack(kind, rank, seq, rows) + payload
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _records(data: bytes) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Offset, kind, rank, seq, rows and size of each good record, up to the first bad one."""
    offset = 0
    while offset + _HEAD.size + _BODY.size <= len(data):
        length, crc = _HEAD.unpack_from(data, offset)
        start, end = offset + _HEAD.size, offset + _HEAD.size + length
        if length < _BODY.size or end > len(data) or zlib.crc32(data[start:end]) != crc:
            return
        kind, rank, seq, rows = _BODY.unpack_from(data, start)
        yield offset, kind, rank, seq, rows, end - offset
        offset = end
