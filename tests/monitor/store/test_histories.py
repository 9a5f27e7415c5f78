"""Whatever is written in whatever cuts, with whatever restarts between, reads back as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steersman.monitor.store import EventRecord, JobRecord, LedgerRecord, RowsWrite, Store, Unit
from steersman.rules.samples import Column, Samples

from .conftest import Shelf

ATTEMPTS = ("one", "two")
SERIES = ("loss", "grad_norm", "lr/g")


@dataclass(frozen=True)
class Cut:
    """Some rows of one rank; their content follows from `seed`."""

    attempt: str
    rank: int
    count: int
    skipped: int
    back: int
    seed: int

    def samples(self, start: int) -> Samples:
        dice = np.random.default_rng(self.seed)
        columns = {}
        for name in SERIES:
            if dice.random() < 0.25:
                continue
            bits = dice.integers(0, 2**63, self.count, dtype=np.int64).view(np.float64)
            walk = dice.normal(size=self.count).cumsum()
            values = np.where(dice.random(self.count) < 0.1, bits, walk)
            present = dice.random(self.count) < dice.choice([0.0, 0.1, 1.0, 1.0])
            columns[name] = Column(values, present, "u")
        steps = np.arange(start - self.back, start - self.back + self.count)
        return Samples(steps, 1.7e9 + dice.random(self.count).cumsum(), columns)


@dataclass(frozen=True)
class Step:
    """One unit, and what happens after it."""

    cuts: list[Cut]
    snapshot: bytes | None
    events: int
    ledger: int
    end: bool
    reopen: bool


COUNTS = st.one_of(st.integers(0, 3), st.integers(1000, 1050), st.integers(1, 3000))
CUTS = st.builds(
    Cut,
    attempt=st.sampled_from(ATTEMPTS),
    rank=st.integers(0, 11),
    count=COUNTS,
    skipped=st.sampled_from([0, 0, 0, 1, 700]),
    back=st.sampled_from([0, 0, 0, 5]),
    seed=st.integers(0, 2**32),
)
STEPS = st.builds(
    Step,
    cuts=st.lists(CUTS, max_size=14),
    snapshot=st.none() | st.binary(max_size=20),
    events=st.integers(0, 3),
    ledger=st.integers(0, 2),
    end=st.sampled_from([False, False, True]),
    reopen=st.booleans(),
)


@dataclass
class Model:
    """The same history in the plainest form: one tuple a row."""

    rows: dict[tuple[str, int], list[tuple[int, bytes, dict[str, bytes]]]] = field(default_factory=dict)
    high_water: dict[tuple[str, int], int] = field(default_factory=dict)
    lost: dict[tuple[str, int], int] = field(default_factory=dict)
    snapshot: bytes | None = None
    events: list[EventRecord] = field(default_factory=list)
    ledger: list[LedgerRecord] = field(default_factory=list)
    ended: bool = False

    def unit(self, step: Step, number: int) -> Unit:
        writes = []
        for cut in step.cuts:
            key = (cut.attempt, cut.rank)
            first = self.high_water.get(key, 0) + 1 + cut.skipped
            samples = cut.samples(first)
            writes.append(RowsWrite(cut.attempt, cut.rank, first, samples, cut.skipped))
            if len(samples) or cut.skipped:
                self.high_water[key] = first + len(samples) - 1
                self.lost[key] = self.lost.get(key, 0) + cut.skipped
                self._keep(key, samples)
        first_event = len(self.events) + 1
        events = [EventRecord("one", 0, first_event + n, float(number), n, "k", "m") for n in range(step.events)]
        ledger = [
            LedgerRecord("job", len(self.ledger) + 1 + n, "one", float(number), "{}", "p", "h")
            for n in range(step.ledger)
        ]
        self.events += events
        self.ledger += ledger
        self.ended = self.ended or step.end
        self.snapshot = self.snapshot if step.snapshot is None else step.snapshot
        snapshots = {} if step.snapshot is None else {"one": step.snapshot}
        jobs = [record("two", ended=True)] if step.end else []
        return Unit(jobs=jobs, rows=writes, snapshots=snapshots, events=events, ledger=ledger)

    def _keep(self, key: tuple[str, int], samples: Samples) -> None:
        kept = self.rows.setdefault(key, [])
        for n in range(len(samples)):
            present = {
                name: column.values[n].tobytes() for name, column in samples.columns.items() if column.present[n]
            }
            kept.append((int(samples.steps[n]), samples.times[n].tobytes(), present))

    def check(self, store: Store) -> None:
        for attempt in ATTEMPTS:
            restored = store.restore(attempt)
            assert restored is not None
            assert dict(restored.high_water) == {
                rank: seq for (one, rank), seq in self.high_water.items() if one == attempt
            }
            assert dict(restored.lost) == {rank: n for (one, rank), n in self.lost.items() if one == attempt and n}
            self._check_series(store, attempt)
            assert store.damage(attempt) == []
        restored = store.restore("one")
        assert restored is not None
        assert restored.snapshot == self.snapshot
        assert restored.event_high_water == ({0: len(self.events)} if self.events else {})
        assert store.events("one", 1000) == self.events
        assert store.ledger("job") == self.ledger
        assert len(store.jobs(ended=False)) == (1 if self.ended else 2)

    def _check_series(self, store: Store, attempt: str) -> None:
        infos = {info.name: info.points for info in store.list_series(attempt)}
        for name in SERIES:
            expected = {
                rank: [(step, time, values[name]) for step, time, values in rows if name in values]
                for (one, rank), rows in self.rows.items()
                if one == attempt
            }
            found = store.series(attempt, name, from_step=-10)
            read = {
                rank: list(
                    zip(
                        samples.steps.tolist(),
                        [time.tobytes() for time in samples.times],
                        [value.tobytes() for value in samples.columns[name].values],
                        strict=True,
                    )
                )
                for rank, samples in found.items()
            }
            assert read == {rank: rows for rank, rows in expected.items() if rows}
            assert infos.get(name, 0) == sum(map(len, expected.values()))


def record(attempt_id: str, ended: bool = False) -> JobRecord:
    return JobRecord(attempt_id, "job", 1 + ATTEMPTS.index(attempt_id), {}, {}, 1.0, 2.0 if ended else None)


def live(shelf: Shelf, history: list[Step]) -> None:
    model = Model()
    shelf.store.write(Unit(jobs=[record(attempt) for attempt in ATTEMPTS]))
    for number, step in enumerate(history):
        shelf.store.write(model.unit(step, number))
        if step.reopen:
            shelf.reopen()
            model.check(shelf.store)
    shelf.reopen()
    model.check(shelf.store)


_RELAXED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def test_memory(make_shelf: Callable[[str], Shelf]) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=_RELAXED)
    @given(st.lists(STEPS, max_size=8))
    def any_history(history: list[Step]) -> None:
        live(make_shelf("memory"), history)

    any_history()


def test_sqlite(make_shelf: Callable[[str], Shelf]) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=_RELAXED)
    @given(st.lists(STEPS, max_size=8))
    def any_history(history: list[Step]) -> None:
        live(make_shelf("sqlite"), history)

    any_history()


def test_postgres(make_shelf: Callable[[str], Shelf]) -> None:
    @settings(max_examples=6, deadline=None, suppress_health_check=_RELAXED)
    @given(st.lists(STEPS, max_size=6))
    def any_history(history: list[Step]) -> None:
        live(make_shelf("postgres"), history)

    any_history()
