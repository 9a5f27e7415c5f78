"""TensorBoard's event files: records of events of summaries of scalars; all files of a folder are one run."""

from __future__ import annotations

import json
import mmap
import re
import struct
from collections.abc import Iterable
from pathlib import Path

from steersman.rules.facts import JobFacts
from steersman.rules.readers import wire
from steersman.rules.readers.hints import facts_of
from steersman.rules.readers.names import HELD_OUT
from steersman.rules.readers.points import Points
from steersman.rules.readers.reading import Format, Log, ReadError

_FIRST = b"brain.Event:"
_STAMP = re.compile(r"tfevents\.(\d+)")
_TRAIN = {"train", "training"}
_SETS = _TRAIN | HELD_OUT
_START = 64 << 10
"""Bytes that are enough to have each tag of a file that has one."""
_ASIDE = 1 << 20
"""Bytes of a folder of events without a series, at most."""

# TensorProto's dtype -> (field with one value, how to read it)
_FLOAT, _DOUBLE = 1, 2


def recognises(path: Path, head: bytes) -> bool:
    """Whether it begins with the record that says the version; or is a folder of such files."""
    if path.is_dir():
        return bool(event_files(path) or parts(path))
    return head[12:64].find(_FIRST) >= 0 or ("tfevents" in path.name and len(head) >= 12 and head[4:8] == b"\0\0\0\0")


def event_files(folder: Path) -> list[Path]:
    """The event files of a folder in the order in which they were begun."""
    try:
        found = [path for path in folder.iterdir() if "tfevents" in path.name and path.is_file()]
    except PermissionError:
        return []  # a search says so where it comes there
    return sorted(found, key=lambda path: (int(m[1]) if (m := _STAMP.search(path.name)) else 0, path.name))


def parts(folder: Path) -> list[tuple[str, Path]]:
    """Folders that together are one run, each with what goes before its tags.

    Keras writes `train` and `validation`; torch's `add_scalars("loss", {"train": …, "val": …})` writes `loss_train` and
    `loss_val` beside the writer's own file.
    """
    below = [path for path in sorted(folder.iterdir()) if path.is_dir() and event_files(path)]
    halves = [("" if name in _TRAIN else f"{name}/", path) for path in below if (name := path.name.lower()) in _SETS]
    if _both(path.name for _, path in halves):
        return halves
    if not below or not event_files(folder):
        return []
    curves = [(key, path) for path in below if _SETS & _words(path.name) if _SETS & _words(key := _curve(path))]
    if not _both(key for key, _ in curves):
        return []
    return [("train/" if _words(key) & _TRAIN else f"{key}/", path) for key, path in curves]


def _both(names: Iterable[str]) -> bool:
    """Whether some name says that it was trained on, and some that it was not."""
    words = set().union(*map(_words, names))
    return bool(_TRAIN & words and HELD_OUT & words)


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", name.lower()))


def _curve(folder: Path) -> str:
    """The key of `add_scalars` that a folder is of: it is named by tag and key. Empty where it is named otherwise."""
    points = Points()
    with event_files(folder)[0].open("rb") as file:
        _Reader(points).records(file.read(_START), folder.name, "")
    tags = [tag for tag in points.names if folder.name.startswith(f"{tag.replace('/', '_')}_")]
    return folder.name.removeprefix(f"{tags[0].replace('/', '_')}_") if tags else ""


def is_aside(folder: Path) -> bool:
    """Whether a folder of events stands beside another's and has no series: what torch's writer puts there.

    `add_hparams` makes a folder of its own for what a run came to; `add_scalars` leaves the writer's own without a
    scalar.
    """
    above = bool(event_files(folder.parent))
    below = any(event_files(path) for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    if not (above or below) or sum(path.stat().st_size for path in event_files(folder)) > _ASIDE:
        return False
    points = Points()
    reader = _Reader(points)
    for file in event_files(folder):
        reader.file(file, "")
    return bool(reader.events) and not reader.notes and points.longest < 2


def read(path: Path) -> list[Log]:
    """Read a file, or the files of a folder as one run. A last record that is cut off is normal: the job was killed."""
    points = Points()
    reader = _Reader(points)
    files: list[tuple[str, Path]] = [("", path)]
    if path.is_dir():
        files = [("", file) for file in event_files(path)]
        for prefix, folder in parts(path):
            files += [(prefix, file) for file in event_files(folder)]
    for prefix, file in files:
        reader.file(file, prefix)
    if not points.count:
        if reader.events:
            raise ReadError("it has no scalar")
        if not any(file.stat().st_size for _, file in files):
            raise ReadError("its event files are empty" if path.is_dir() else "it is empty")
        raise ReadError("no event of it can be read: damaged, or cut off early")
    return [Log("", points.table(by_time=len(files) > 1), reader.facts, tuple(reader.notes))]


class _Reader:
    def __init__(self, points: Points) -> None:
        self.points = points
        self.facts = JobFacts()
        self.events = 0
        self.notes: list[str] = []

    def file(self, path: Path, prefix: str) -> None:
        with path.open("rb") as file:
            if not path.stat().st_size:
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                self.records(data, path.name, prefix)

    def records(self, data: mmap.mmap | bytes, name: str, prefix: str) -> None:
        """Take all that is in a file."""
        size, at = len(data), 0
        # What stands before the four bytes of a value is the same in every event of a tag.
        known: dict[bytes, str] = {}
        header = struct.Struct("<Q")
        head, tail = struct.Struct("<d"), struct.Struct("<f")
        add = self.points.add
        while at + 12 <= size:
            length = header.unpack_from(data, at)[0]
            if length > size - at - 16:
                self.notes.append(f"the last record of {name} is cut off or damaged, after {self.events:,} events")
                return
            event = data[at + 12 : at + 12 + length]
            at += length + 16
            self.events += 1
            if length < 15 or event[0] != 0x09:
                self._event(event, prefix, known)
                continue
            step = shift = 0
            place = 9
            if event[9] == 0x10:
                place = 10
                while place < length:
                    byte = event[place]
                    place += 1
                    step |= (byte & 0x7F) << shift
                    if byte < 0x80 or shift > 63:
                        break
                    shift += 7
            tag = known.get(event[place:-4])
            if tag is None:
                self._event(event, prefix, known)
            else:
                add(tag, wire.signed(step), tail.unpack_from(event, length - 4)[0], head.unpack_from(event, 1)[0])

    def _event(self, event: bytes, prefix: str, known: dict[bytes, str]) -> None:
        time, step = 0.0, 0
        summaries: list[tuple[int, int]] = []
        try:
            for number, kind, start, end in wire.fields(event):
                if number == 1 and kind == wire.FIXED64:
                    time = wire.float64(event, start)
                elif number == 2 and kind == wire.VARINT:
                    step = wire.signed(start)
                elif number == 5 and kind == wire.BYTES:
                    summaries.append((start, end))
            values = [
                (start, end)
                for summary in summaries
                for number, kind, start, end in wire.fields(event, *summary)
                if number == 1 and kind == wire.BYTES
            ]
            for start, end in values:
                self._value(event, start, end, step, time, prefix, known if len(values) == 1 else None)
        except wire.BrokenError:
            return

    def _value(
        self, event: bytes, at: int, stop: int, step: int, time: float, prefix: str, known: dict[bytes, str] | None
    ) -> None:
        tag, place, value = "", -1, None
        tensor: tuple[int, int] | None = None
        for number, kind, start, end in wire.fields(event, at, stop):
            if number == 1 and kind == wire.BYTES:
                tag = wire.text(event, start, min(end, start + 400))
            elif number == 2 and kind == wire.FIXED32:
                place, value = start, wire.float32(event, start)
            elif number == 8 and kind == wire.BYTES:
                tensor = start, end
        if tensor is not None:
            place, value = _tensor(event, *tensor)
            if value is None and "text_summary" in tag:
                self._settings(event, *tensor)
        if value is None or not tag:
            return
        name = prefix + tag
        self.points.add(name, step, value, time)
        if known is not None and place == len(event) - 4 and event[:1] == b"\x09" and len(known) < 4096:
            begin = 9
            if event[9] == 0x10:
                begin = wire.varint(event, 10, len(event))[1]
            known[event[begin:-4]] = name

    def _settings(self, event: bytes, at: int, stop: int) -> None:
        """The Hugging Face trainer writes its arguments as JSON."""
        for number, kind, start, end in wire.fields(event, at, stop):
            if number == 8 and kind == wire.BYTES:
                try:
                    said = json.loads(event[start:end])
                except (ValueError, RecursionError):
                    continue
                if isinstance(said, dict):
                    found = facts_of(said)
                    self.facts = JobFacts(
                        found.optimizer or self.facts.optimizer, found.planned_steps or self.facts.planned_steps
                    )


def _tensor(event: bytes, at: int, stop: int) -> tuple[int, float | None]:
    """Where the one float of a tensor stands, or -1, and its value; None where it is no scalar."""
    dtype = 0
    found: list[tuple[int, int, int, int]] = []
    for field in wire.fields(event, at, stop):
        if field[0] == 1 and field[1] == wire.VARINT:
            dtype = field[2]
        elif field[0] in (4, 5, 6, 7, 10):
            found.append(field)
    if len(found) != 1:
        return -1, None
    number, kind, start, end = found[0]
    size = end - start
    if kind == wire.VARINT and number in (7, 10):
        return -1, float(wire.signed(start))
    if dtype == _FLOAT and number in (4, 5) and size == 4:
        return start, wire.float32(event, start)
    if dtype == _DOUBLE and number in (4, 6) and size == 8:
        return -1, wire.float64(event, start)
    if number in (7, 10) and kind == wire.BYTES and size:
        value, ended = wire.varint(event, start, end)
        return (-1, float(wire.signed(value))) if ended == end else (-1, None)
    return -1, None


FORMAT = Format("tensorboard", "TensorBoard's event files, all of a folder as one run", recognises, read)
