"""The lead rank's rows wait until the job's gradient norm and direction are known, where each rank holds a part.

What waits is not durable, so its agent keeps it and sends it again to whoever takes over. What other ranks said is in
the store, and is read from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from steersman.monitor.wholenorm import DIRECTION, OWN, PARTS, PREFIX, PROMISE, UNKNOWN, whole_direction, whole_norm
from steersman.rules.samples import Bools, Column, Floats, Samples

_OF_DIRECTION = (*DIRECTION, *PROMISE)

Place = tuple[int, int]
"""How often a rank's steps have gone back, as when a job resumes, and a step: ranks agree on both."""

PATIENCE_S = 90.0
"""How long a row waits for a rank that has been heard of: its agent may take a minute to connect again."""
UNHEARD_S = 20.0
"""How long it waits for one that never has: it may have no probe."""
MAX_HELD = 16384
"""Rows of the lead rank that wait."""
MAX_PARTS = 65536
"""Rows of all ranks whose parts are kept, each rank's share of it; later ones are as good as lost."""


@dataclass(frozen=True)
class Held:
    """Rows that wait: as `Job.take` got them, with their places and when they came on the daemon's clock."""

    first_seq: int
    samples: Samples
    skipped: int
    places: tuple[Place, ...]
    since: float


class Ready(NamedTuple):
    """Rows that wait no longer."""

    first_seq: int
    samples: Samples
    skipped: int


@dataclass
class Gathering:
    """The rows of one attempt that wait, and what they wait for.

    Attributes:
        active: whether any rank has sent a part; nothing is held before.
        places: how far each rank has come.
        missing: ranks that were waited for in vain, and are not waited for until they have caught up.
        released: how far the lead rank's rows have been released.
        counted: ranks whose first row was not of step 0: who is attached to goes on from its optimizer's own count,
            where there is one, and from 0 where there is none.
    """

    active: bool = False
    places: dict[int, Place] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    released: Place = (0, -1)
    counted: set[int] = field(default_factory=set)
    _held: deque[Held] = field(default_factory=deque)
    _parts: dict[Place, dict[int, Mapping[str, float]]] = field(default_factory=dict)
    _kept: dict[int, int] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """How many rows wait."""
        return sum(len(held.samples) for held in self._held)

    @property
    def alike(self) -> bool:
        """Whether all ranks that have been heard of, and were attached to, count their steps alike."""
        return self.counted >= self.places.keys()

    def note(self, rank: int, samples: Samples, ranks: int) -> tuple[Place, ...]:
        """Rows of one of so many ranks: what they hold of the norm. The places of these rows."""
        names = [name for name in samples.columns if name.startswith(PARTS)]
        self.active = self.active or bool(names)
        part = _part(samples, PARTS)
        places = self._advance(rank, samples.steps.tolist(), part.tolist())
        if names:
            self._keep(rank, places, samples, names, ranks)
        if rank in self.missing and self.places[rank] >= self.released:
            self.missing.discard(rank)
        return places

    def hold(self, ready: Ready, places: tuple[Place, ...], clock: float) -> None:
        """These rows of the lead rank wait."""
        self._held.append(Held(*ready, places, clock))

    def release(self, ranks: int, clock: float) -> Iterator[Ready]:
        """The rows that wait no longer, in order, with the norm and the direction where they are known.

        Args:
            ranks: how many the job has.
            clock: the daemon's.
        """
        while self._held:
            held = self._held[0]
            wholes: list[Mapping[str, float]] = []
            for place in held.places:
                if self._waits(place, ranks, clock - held.since):
                    break
                wholes.append(_whole(self._parts.get(place, {}), ranks))
                self._pass(place)
            if held.places and not wholes:
                return
            yield self._cut(held, wholes)

    def passed(self, places: tuple[Place, ...]) -> None:
        """Rows of the lead rank did not have to wait."""
        if places:
            self._pass(places[-1])

    def surrender(self) -> list[Ready]:
        """All rows that wait, as they are: another rank leads from here on."""
        held, self._held = self._held, deque()
        self.released = (0, -1)
        return [Ready(one.first_seq, one.samples, one.skipped) for one in held]

    def refill(self, lead: int, ranks: int, series: Callable[[int], Mapping[str, Mapping[int, Samples]]]) -> None:
        """After a restart: what the store has of other ranks' parts from the lead rank's next row on.

        Args:
            lead: the lead rank.
            ranks: how many the job has.
            series: by name and rank, what the store has of parts from a step on.
        """
        if not self.active:
            return
        rows: dict[int, dict[int, dict[str, float]]] = {}
        for name, by_rank in series(self.released[1] + 1).items():
            for rank, samples in by_rank.items():
                # Only what came after the rank's steps went back for the last time is where it seems to be.
                turns = np.flatnonzero(np.diff(samples.steps) <= 0)
                start = int(turns[-1]) + 1 if turns.size else 0
                values = samples.columns[name].values[start:].tolist()
                for step, value in zip(samples.steps[start:].tolist(), values, strict=True):
                    rows.setdefault(rank, {}).setdefault(step, {})[name] = value
        for rank, by_step in rows.items():
            back, last = self.places.get(rank, (0, -1))
            for step, held in sorted(by_step.items()):
                if rank != lead and step <= last and any(name != OWN for name in held):
                    self._store((back, step), rank, held, ranks)

    def to_json(self, lead: int) -> dict[str, Any]:
        """What is kept of it: of the lead rank only what was released, for the rest comes again."""
        places = {**self.places, lead: self.released} if lead in self.places else self.places
        return {
            "active": self.active,
            "places": {str(rank): list(place) for rank, place in sorted(places.items())},
            "missing": sorted(self.missing),
            "released": list(self.released),
            "counted": sorted(self.counted),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Gathering:
        """Read what `to_json` wrote."""
        return cls(
            data["active"],
            {int(rank): (back, step) for rank, (back, step) in data["places"].items()},
            set(data["missing"]),
            (data["released"][0], data["released"][1]),
            set(data.get("counted", ())),
        )

    def _advance(self, rank: int, steps: list[int], part: list[bool]) -> tuple[Place, ...]:
        if rank not in self.places and steps and steps[0] > 0:
            self.counted.add(rank)
        back, last = self.places.get(rank, (0, -1))
        places = []
        for step, has_part in zip(steps, part, strict=True):
            # A step that comes twice is one that was made again, unless the second row only adds a validation loss.
            back, last = back + (step < last or (step == last and has_part)), step
            places.append((back, step))
        self.places[rank] = (back, last)
        return tuple(places)

    def _keep(self, rank: int, places: tuple[Place, ...], samples: Samples, names: list[str], ranks: int) -> None:
        taken = [(n, samples.columns[n].values.tolist(), samples.columns[n].present.tolist()) for n in names]
        own = samples.columns.get(OWN)
        for at, place in enumerate(places):
            held = {name: values[at] for name, values, present in taken if present[at]}
            if held:
                if own is not None and own.present[at]:
                    held[OWN] = float(own.values[at])
                self._store(place, rank, held, ranks)

    def _store(self, place: Place, rank: int, held: Mapping[str, float], ranks: int) -> None:
        kept = self._kept.get(rank, 0)
        if place > self.released and kept < MAX_PARTS // ranks:
            there = self._parts.setdefault(place, {})
            self._kept[rank] = kept + (rank not in there)
            there[rank] = held

    def _waits(self, place: Place, ranks: int, waited: float) -> bool:
        """Whether it is too early to say what the norm at a place is; whoever is waited for too long is missing."""
        there = self._parts.get(place, {})
        columns = {name for held in there.values() for name in held}
        if len(there) >= ranks or (UNKNOWN in columns and not any(name.startswith(_OF_DIRECTION) for name in columns)):
            return False
        absent = [rank for rank in range(ranks) if rank not in there]
        late = [rank for rank in absent if self.places.get(rank, (0, -1)) < place]
        if len(late) < len(absent) or any(rank in self.missing for rank in late):
            return False  # one that has passed without a word, or is not waited for: it will never be known
        if self.waiting > MAX_HELD or max(self._kept.values(), default=0) >= MAX_PARTS // ranks:
            overdue = late
        else:
            overdue = [rank for rank in late if waited > (PATIENCE_S if rank in self.places else UNHEARD_S)]
        self.missing.update(overdue)
        return not overdue

    def _pass(self, place: Place) -> None:
        self.released = max(self.released, place)

    def _sweep(self) -> None:
        for old in [there for there in self._parts if there <= self.released]:
            for rank in self._parts.pop(old):
                self._kept[rank] -= 1

    def _cut(self, held: Held, wholes: list[Mapping[str, float]]) -> Ready:
        """The first rows of what waits longest, with what is known of them; the rest of it goes on waiting."""
        count = len(wholes)
        samples = held.samples
        if count < len(samples):
            rest = samples.rows(count, len(samples))
            self._held[0] = replace(
                held, first_seq=held.first_seq + count, samples=rest, skipped=0, places=held.places[count:]
            )
            samples = samples.rows(0, count)
        else:
            self._held.popleft()
        self._sweep()
        return Ready(held.first_seq, _with_direction(_with_norm(samples, wholes), wholes), held.skipped)


def _whole(parts: Mapping[int, Mapping[str, float]], ranks: int) -> Mapping[str, float]:
    if not parts:
        return {}
    norm = whole_norm(parts, ranks)
    found = whole_direction(parts, ranks, norm)
    return found if norm is None else {OWN: norm, **found}


def _column(name: str, wholes: list[Mapping[str, float]]) -> tuple[Floats, Bools]:
    known = np.array([name in whole for whole in wholes], dtype=np.bool_)
    return np.array([whole.get(name, 0.0) for whole in wholes], dtype=np.float64), known


def _with_direction(samples: Samples, wholes: list[Mapping[str, float]]) -> Samples:
    names = dict.fromkeys(name for whole in wholes for name in whole if name != OWN)
    columns = dict(samples.columns)
    for name in names:
        values, known = _column(name, wholes)
        own = samples.columns.get(name)
        if own is not None:
            # Of other rows, where it is no sum of parts, the rank's own.
            values, known = np.where(known, values, own.values), known | own.present
        columns[name] = Column(values, known, "1" if name == "hypergrad_cos" else "")
    return Samples(samples.steps, samples.times, columns) if names else samples


def _with_norm(samples: Samples, wholes: list[Mapping[str, float]]) -> Samples:
    """These rows with the job's norm in place of the rank's own, on those rows that hold a part of it."""
    part = _part(samples, (PREFIX,))
    if not part.any():
        return samples
    values, known = _column(OWN, wholes)
    own = samples.columns.get(OWN)
    if own is not None:
        values = np.where(part, values, own.values)
        known = np.where(part, known, own.present)
    columns = {**samples.columns, OWN: Column(values, known)}
    if not known.any():
        del columns[OWN]
    return Samples(samples.steps, samples.times, columns)


def _part(samples: Samples, prefixes: tuple[str, ...]) -> Bools:
    """Which of these rows hold a part, or say that the norm cannot be known."""
    part = np.zeros(len(samples), dtype=np.bool_)
    for name, column in samples.columns.items():
        if name.startswith(prefixes):
            part |= column.present
    return part
