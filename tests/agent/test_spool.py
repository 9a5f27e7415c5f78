from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.agent.attempt import Attempt
from steersman.agent.spool import Spool, flush


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "attempt"


def opened(folder: Path, **bounds: int) -> Spool:
    spool = Spool(folder, **bounds)
    spool.open()
    return spool


def kept(spool: Spool, rank: int = 0) -> list[tuple[int, int, bytes | None]]:
    return [(e.first_seq, e.rows, spool.read(e)) for e in spool.entries(rank)]


def test_rows_come_back_after_the_agent_was_killed(folder: Path) -> None:
    spool = opened(folder)
    spool.append(0, 1, 3, b"abc")
    spool.append(1, 1, 1, b"x")
    spool.append(0, 4, 2, b"de")
    again = opened(folder)  # no close: killed
    assert kept(again, 0) == [(1, 3, b"abc"), (4, 2, b"de")]
    assert kept(again, 1) == [(1, 1, b"x")]
    assert again.pending_rows() == 6
    assert (again.last_seq(0), again.last_seq(1), again.last_seq(2)) == (5, 1, 0)


def test_what_is_durable_stays_forgotten_after_a_restart(folder: Path) -> None:
    spool = opened(folder)
    spool.append(0, 1, 3, b"abc")
    spool.append(0, 4, 2, b"de")
    spool.ack(0, 3)
    spool.ack(0, 2)  # an older word changes nothing
    assert kept(spool) == kept(opened(folder)) == [(4, 2, b"de")]
    assert opened(folder).last_seq(0) == 5


def test_an_acknowledgement_in_the_middle_of_an_entry_keeps_it(folder: Path) -> None:
    spool = opened(folder)
    spool.append(0, 1, 3, b"abc")
    spool.ack(0, 2)
    assert kept(spool) == [(1, 3, b"abc")]


def test_segments_that_nobody_needs_are_deleted(folder: Path) -> None:
    spool = opened(folder, segment_bytes=100)
    for seq in range(1, 21):
        spool.append(0, seq, 1, b"." * 60)
    before = len(list(folder.glob("*.seg")))
    spool.ack(0, 19)
    assert before == 10
    assert len(list(folder.glob("*.seg"))) <= 2
    assert kept(spool) == kept(opened(folder)) == [(20, 1, b"." * 60)]


def test_past_its_bound_the_oldest_segments_go_and_are_counted(folder: Path) -> None:
    spool = opened(folder, segment_bytes=200, max_bytes=1000)
    for seq in range(1, 101):
        spool.append(0, seq, 1, b"." * 75)
    lost = spool.take_lost()[0]
    assert spool.take_lost() == {}
    assert spool.size() <= 1000
    assert lost == 100 - spool.pending_rows()
    assert [first for first, _, _ in kept(spool)] == list(range(lost + 1, 101))
    assert kept(opened(folder)) == kept(spool)


class Refusing:
    """os.write that puts half of it on disk and then fails, for as long as it is asked to."""

    def __init__(self, code: int) -> None:
        self.code: int | None = code
        self.write = os.write
        self.half = True

    def __call__(self, descriptor: int, data: memoryview) -> int:
        if self.code is None:
            return self.write(descriptor, data)
        if self.half:
            self.half = False
            return self.write(descriptor, data[: len(data) // 2])
        self.half = True
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_takes_nothing_is_counted_and_rows_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    spool = opened(folder)
    spool.append(0, 1, 1, b"on disk")
    refusing = Refusing(code)
    monkeypatch.setattr("steersman.agent.spool.os.write", refusing)
    spool.append(0, 2, 1, b"in memory")
    refusing.code = None
    spool.append(0, 3, 1, b"on disk again")
    assert kept(spool) == [(1, 1, b"on disk"), (2, 1, b"in memory"), (3, 1, b"on disk again")]
    assert spool.failures == 1
    assert os.strerror(code) in spool.last_failure
    assert kept(opened(folder)) == [(1, 1, b"on disk"), (3, 1, b"on disk again")]


def test_memory_is_bounded_while_the_disk_takes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(folder, memory_bytes=1000)
    monkeypatch.setattr("steersman.agent.spool.os.write", Refusing(errno.ENOSPC))
    for seq in range(1, 201):
        spool.append(0, seq, 1, b"." * 50)
    assert sum(len(payload or b"") for _, _, payload in kept(spool)) <= 1000
    assert kept(spool)[-1][0] == 200
    assert spool.take_lost() == {0: 200 - spool.pending_rows()}


def test_damage_on_disk_costs_what_is_damaged_and_is_counted(folder: Path) -> None:
    spool = opened(folder)
    spool.append(0, 1, 2, b"first")
    spool.append(0, 3, 1, b"second")
    path = next(folder.glob("*.seg"))
    data = bytearray(path.read_bytes())
    data[data.index(b"first")] ^= 1
    path.write_bytes(data)
    assert [payload for _, _, payload in kept(spool)] == [None, b"second"]
    assert spool.take_lost() == {0: 2}
    assert kept(spool) == [(3, 1, b"second")]


def test_flush_brings_files_to_disk_and_closes_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr("steersman.agent.spool.os.fdatasync", synced.append)
    spool = opened(folder)
    spool.append(0, 1, 1, b"a")
    descriptors = spool.unsynced()
    assert len(descriptors) == 2  # the file and the folder that names it
    assert flush(descriptors) is None
    assert synced == descriptors
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    assert spool.unsynced() == []


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 2), st.integers(1, 5)),
        st.tuples(st.just("ack"), st.integers(0, 2), st.integers(0, 60)),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(first=_steps, second=_steps, torn=st.floats(0, 1), segment=st.sampled_from([60, 200, 10_000]))
def test_a_crash_at_any_byte_keeps_exactly_the_unacknowledged_suffix(
    first: list[tuple[str, int, int]], second: list[tuple[str, int, int]], torn: float, segment: int
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="sm-spool-"))
    try:
        spool = opened(folder, segment_bytes=segment)
        model: dict[int, list[tuple[int, int]]] = {}
        next_seq: dict[int, int] = {}

        def play(steps: list[tuple[str, int, int]]) -> None:
            for kind, rank, number in steps:
                if kind == "append":
                    seq = next_seq.get(rank, 1)
                    spool.append(rank, seq, number, bytes([rank]) * number)
                    model.setdefault(rank, []).append((seq, number))
                    next_seq[rank] = seq + number
                else:
                    mark = min(number, next_seq.get(rank, 1) - 1)
                    spool.ack(rank, mark)
                    model[rank] = [(s, n) for s, n in model.get(rank, []) if s + n - 1 > mark]

        play(first)
        before = {rank: list(entries) for rank, entries in model.items()}
        files = {path.name: path.stat().st_size for path in folder.glob("*.seg")}
        play(second)
        # The crash: of what was written since, only a part is on disk, up to any byte of the newest segment.
        for path in sorted(folder.glob("*.seg"))[-1:]:
            floor = files.get(path.name, 0)
            os.truncate(path, floor + int((path.stat().st_size - floor) * torn))

        again = opened(folder, segment_bytes=segment)
        for rank in range(3):
            found = [(e.first_seq, e.rows) for e in again.entries(rank)]
            for entry in again.entries(rank):
                assert again.read(entry) == bytes([rank]) * entry.rows
            assert found == sorted(found)
            if torn == 1:
                assert found == model.get(rank, [])
            # A torn tail costs the newest rows and the newest marks, never anything before them.
            assert {e for e in model.get(rank, []) if found and e <= found[-1]} <= set(found)
            assert set(before.get(rank, [])) & set(model.get(rank, [])) <= set(found)
        # And it goes on from there.
        start = again.last_seq(0) + 1
        again.append(0, start, 1, b"n")
        assert [(e.first_seq, e.rows) for e in opened(folder).entries(0)][-1] == (start, 1)
    finally:
        shutil.rmtree(folder)


def test_a_folder_for_which_there_is_no_room_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        spool = opened(tmp_path / "none")
        spool.append(0, 1, 1, b"in memory")
        assert spool.failures == 2
        assert os.strerror(errno.ENOSPC) in spool.last_failure
    spool.append(0, 2, 1, b"on disk")
    assert kept(spool) == [(1, 1, b"in memory"), (2, 1, b"on disk")]
    assert kept(opened(tmp_path / "none")) == [(2, 1, b"on disk")]


def test_a_disk_that_stays_full_is_said_and_not_repeated_for_ever(folder: Path) -> None:
    spool = opened(folder)
    attempt = Attempt("00000000-0000-4000-8000-000000000001", folder, spool)
    for _ in range(1000):
        spool.failures += 1
        attempt.flush(1.0)
    said = [event for event in attempt.events if event.kind == "spool_failed"]
    assert len(said) <= 10
    assert said[0].count == 1
    assert sum(event.count for event in said) > 500
