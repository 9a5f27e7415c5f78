"""What every store promises; each case runs over all of them."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest

from steersman.monitor.errors import StoreError
from steersman.monitor.store import EventRecord, JobRecord, LedgerRecord, Restored, RowsWrite, SeriesInfo, Unit
from steersman.rules.samples import Column, Samples

from .conftest import Shelf

JOB = JobRecord("a-1", "gpt", 1, {"host": "h", "groups": ["g"]}, {"policy": "observe"}, 100.0)
NAN_WITH_PAYLOAD = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]


def rows(start: int, count: int, **series: list[float]) -> Samples:
    steps = np.arange(start, start + count)
    return Samples(
        steps, 1e9 + steps.astype(np.float64) * 0.25, {name: Column.full(values) for name, values in series.items()}
    )


def steady(start: int, count: int) -> Samples:
    return rows(start, count, loss=[float(i) / 7 for i in range(start, start + count)])


def put(shelf: Shelf, *writes: RowsWrite) -> None:
    shelf.store.write(Unit(rows=writes))


def restored(shelf: Shelf) -> Restored:
    found = shelf.store.restore("a-1")
    assert found is not None
    return found


@pytest.fixture
def job(shelf: Shelf) -> Shelf:
    shelf.store.write(Unit(jobs=[JOB]))
    return shelf


def test_an_empty_store_knows_nothing(shelf: Shelf) -> None:
    store = shelf.store
    assert store.jobs(ended=True) == []
    assert store.find("gpt") is None
    assert store.restore("a-1") is None
    assert store.list_series("a-1") == []
    assert store.series("a-1", "loss") == {}
    assert store.events("a-1") == []
    assert store.ledger("gpt") == []
    assert store.adjustments("gpt") == {}
    assert store.damage("a-1") == []
    store.check("a-1")


def test_jobs_come_newest_first_and_those_that_ended_only_when_asked_for(shelf: Shelf) -> None:
    second = replace(JOB, attempt_id="a-2", attempt=2, started_at=200.0)
    other = replace(JOB, attempt_id="b-1", name="vit", started_at=150.0)
    shelf.store.write(Unit(jobs=[JOB, second, other]))
    ended = replace(JOB, ended_at=190.0, state={"policy": "observe", "exit": [1, None]})
    shelf.store.write(Unit(jobs=[ended]))
    shelf.reopen()
    assert shelf.store.jobs(ended=False) == [second, other]
    assert shelf.store.jobs(ended=True) == [second, other, ended]
    assert shelf.store.find("gpt") == second
    assert shelf.store.find("gpt", 1) == ended
    assert shelf.store.find("gpt", 3) is None
    assert shelf.store.find("bert") is None


def test_rows_come_back_to_the_bit(job: Shelf) -> None:
    odd = [0.1, NAN_WITH_PAYLOAD, float("inf"), -0.0, 5e-324, float("-inf"), float("nan")]
    present = np.array([True, True, True, True, False, True, True])
    samples = Samples(
        np.array([5, 6, 7, 3, 4, 2**62, 0]),
        np.array([1.7e9, 1.7e9 + 0.1, 0.0, -1.0, 1e-300, 1.7e9, float("nan")]),
        {"loss": Column(np.array(odd), present, "nat"), "lr/a b": Column.full(odd)},
    )
    put(job, RowsWrite("a-1", 3, 1, samples))
    job.reopen()
    read = job.store.series("a-1", "loss")[3]
    assert read.steps.tolist() == samples.steps[present].tolist()
    assert read.times.tobytes() == samples.times[present].tobytes()
    assert read.columns["loss"].values.tobytes() == np.array(odd)[present].tobytes()
    assert read.columns["loss"].present.all()
    assert read.columns["loss"].unit == "nat"
    assert job.store.series("a-1", "lr/a b")[3].columns["lr/a b"].values.tobytes() == np.array(odd).tobytes()
    assert job.store.list_series("a-1") == [SeriesInfo("loss", "nat", 6), SeriesInfo("lr/a b", "", 7)]


def test_columns_may_appear_late_vanish_and_come_back(job: Shelf) -> None:
    put(job, RowsWrite("a-1", 0, 1, rows(0, 2, loss=[1.0, 2.0])))
    put(job, RowsWrite("a-1", 0, 3, rows(2, 2, grad_norm=[3.0, 4.0])))
    put(job, RowsWrite("a-1", 0, 5, rows(4, 1, loss=[5.0], grad_norm=[6.0])))
    put(job, RowsWrite("a-1", 0, 6, rows(5, 1)))
    nothing = Column(np.zeros(1), np.zeros(1, np.bool_))
    put(job, RowsWrite("a-1", 0, 7, Samples(np.array([6]), np.array([0.0]), {"never": nothing, "loss": nothing})))
    job.reopen()
    assert job.store.series("a-1", "loss")[0].steps.tolist() == [0, 1, 4]
    assert job.store.series("a-1", "grad_norm")[0].columns["grad_norm"].values.tolist() == [3.0, 4.0, 6.0]
    assert job.store.series("a-1", "never") == {}
    assert [info.name for info in job.store.list_series("a-1")] == ["grad_norm", "loss"]
    assert restored(job).high_water == {0: 7}


def test_thousands_of_rows_in_cuts_of_any_size_read_back_in_order(job: Shelf) -> None:
    cuts = [1, 2, 1500, 1020, 1, 1, 1, 4000, 37]
    start = 0
    for cut in cuts:
        put(
            job,
            RowsWrite("a-1", 0, start + 1, steady(start, cut)),
            RowsWrite("a-1", 7, start + 1, steady(start + 10, cut)),
        )
        start += cut
    job.reopen()
    total = sum(cuts)
    put(job, RowsWrite("a-1", 0, total + 1, steady(total, 3)))
    read = job.store.series("a-1", "loss")
    assert read[0].steps.tolist() == list(range(total + 3))
    assert read[0].columns["loss"].values.tolist() == [i / 7 for i in range(total + 3)]
    assert read[7].steps.tolist() == list(range(10, total + 10))
    assert job.store.list_series("a-1") == [SeriesInfo("loss", "", 2 * total + 3)]
    assert restored(job).high_water == {0: total + 3, 7: total}
    assert job.store.damage("a-1") == []


def test_ranks_and_steps_can_be_picked(job: Shelf) -> None:
    put(job, *(RowsWrite("a-1", rank, 1, steady(0, 3000)) for rank in (0, 1, 2)))
    read = job.store.series("a-1", "loss", ranks=[2, 0, 9], from_step=1000, to_step=1030)
    assert list(read) == [0, 2]
    assert read[2].steps.tolist() == list(range(1000, 1031))
    assert job.store.series("a-1", "loss", from_step=2999)[1].steps.tolist() == [2999]
    assert job.store.series("a-1", "loss", from_step=3000) == {}
    assert job.store.series("a-1", "loss", to_step=0)[0].steps.tolist() == [0]


def test_a_job_that_goes_back_in_its_steps_keeps_the_order_of_writing(job: Shelf) -> None:
    put(job, RowsWrite("a-1", 0, 1, steady(0, 2000)))
    put(job, RowsWrite("a-1", 0, 2001, steady(500, 1000)))
    read = job.store.series("a-1", "loss", from_step=1400, to_step=1600)[0]
    assert read.steps.tolist() == [*range(1400, 1601), *range(1400, 1500)]


@pytest.mark.parametrize(("first_seq", "skipped"), [(0, 0), (3, 0), (5, 0), (4, 1), (6, 1), (4, -1), (3, -1)])
def test_rows_that_do_not_follow_are_refused_and_nothing_of_their_unit_is_kept(
    job: Shelf, first_seq: int, skipped: int
) -> None:
    put(job, RowsWrite("a-1", 0, 1, steady(0, 3)))
    unit = Unit(
        jobs=[replace(JOB, state={"changed": True})],
        rows=[RowsWrite("a-1", 1, 1, steady(0, 1)), RowsWrite("a-1", 0, first_seq, steady(3, 2), skipped)],
        snapshots={"a-1": b"new"},
        events=[EventRecord("a-1", 0, 1, 1.0, 0, "note", "new")],
    )
    with pytest.raises(StoreError, match=rf"attempt a-1 rank 0 start at {first_seq}, but 3 is the last one stored"):
        job.store.write(unit)
    kept = restored(job)
    assert kept.high_water == {0: 3}
    assert kept.snapshot is None
    assert kept.job == JOB
    assert job.store.events("a-1") == []
    put(job, RowsWrite("a-1", 0, 4, steady(3, 2)))
    assert job.store.series("a-1", "loss")[0].steps.tolist() == [0, 1, 2, 3, 4]


def test_rows_of_an_attempt_that_nobody_wrote_are_refused(shelf: Shelf) -> None:
    with pytest.raises(StoreError, match="attempt a-1 is not in the store: write its job record first"):
        put(shelf, RowsWrite("a-1", 0, 1, steady(0, 1)))
    shelf.store.write(Unit(jobs=[JOB], rows=[RowsWrite("a-1", 0, 1, steady(0, 1))]))
    assert restored(shelf).high_water == {0: 1}


@pytest.mark.parametrize(
    "beside",
    [
        Unit(snapshots={"x": b""}),
        Unit(findings={"x": "[]"}),
        Unit(adjustments={"i": ("x", "{}")}),
        Unit(events=[EventRecord("x", 0, 1, 0.0, 0, "k", "m")]),
    ],
)
def test_nothing_can_be_written_beside_an_attempt_that_nobody_wrote(job: Shelf, beside: Unit) -> None:
    with pytest.raises(StoreError, match="attempt x is not in the store"):
        job.store.write(beside)


def test_columns_of_another_length_are_refused(job: Shelf) -> None:
    crooked = Samples(np.arange(2), np.zeros(2), {"loss": Column.full([1.0])})
    with pytest.raises(StoreError, match=r"rows of attempt a-1 rank 0 have 2 steps, but another length of loss"):
        put(job, RowsWrite("a-1", 0, 1, crooked))


def test_a_time_that_is_none_is_refused(job: Shelf) -> None:
    with pytest.raises(StoreError, match="the time of event 1 of attempt a-1 is nan"):
        job.store.write(Unit(events=[EventRecord("a-1", 0, 1, float("nan"), 0, "k", "m")]))


def test_several_writes_of_one_rank_in_one_unit_follow_each_other(job: Shelf) -> None:
    put(job, RowsWrite("a-1", 0, 1, steady(0, 2)), RowsWrite("a-1", 0, 3, steady(2, 2)))
    assert job.store.series("a-1", "loss")[0].steps.tolist() == [0, 1, 2, 3]


def test_rows_lost_for_good_are_counted_and_the_next_ones_follow(job: Shelf) -> None:
    put(job, RowsWrite("a-1", 0, 1, steady(0, 2)))
    put(job, RowsWrite("a-1", 0, 8, steady(7, 2), skipped=5))
    put(job, RowsWrite("a-1", 0, 11, steady(0, 0), skipped=1), RowsWrite("a-1", 1, 1, steady(0, 1)))
    job.reopen()
    kept = restored(job)
    assert kept.high_water == {0: 10, 1: 1}
    assert kept.lost == {0: 6}
    put(job, RowsWrite("a-1", 0, 11, steady(10, 1)))
    assert job.store.series("a-1", "loss")[0].steps.tolist() == [0, 1, 7, 8, 10]


def test_rows_lost_across_a_chunk_do_not_shift_what_is_sealed(job: Shelf) -> None:
    seq, steps = 1, 0
    for _ in range(30):
        put(job, RowsWrite("a-1", 0, seq + 50, steady(steps, 100), skipped=50))
        seq, steps = seq + 150, steps + 100
        job.reopen()
    assert job.store.series("a-1", "loss")[0].steps.tolist() == list(range(3000))
    assert restored(job).lost == {0: 1500}


def test_what_is_beside_the_rows_is_replaced(job: Shelf) -> None:
    job.store.write(Unit(snapshots={"a-1": b"\x00one"}, findings={"a-1": "[1]"}, adjustments={"z": ("a-1", "{}")}))
    job.store.write(Unit(snapshots={"a-1": b"two\xff"}, findings={"a-1": "[2]"}, adjustments={"b": ("a-1", "{}")}))
    job.store.write(Unit(adjustments={"z": ("a-1", '{"state":"kept"}')}))
    job.reopen()
    kept = restored(job)
    assert kept.snapshot == b"two\xff"
    assert kept.findings == "[2]"
    assert list(kept.adjustments.items()) == [("z", '{"state":"kept"}'), ("b", "{}")]


def test_an_event_that_is_there_already_is_skipped(job: Shelf) -> None:
    first = EventRecord("a-1", 0, 1, 5.0, 10, "gap", "3 rows", 3)
    later = [EventRecord("a-1", rank, seq, 6.0 + seq, 11, "note", "ü") for rank in (0, 1) for seq in (2, 4)]
    job.store.write(Unit(events=[first, replace(first, message="again")]))
    job.store.write(Unit(events=[*later, replace(first, message="and again")]))
    job.reopen()
    assert job.store.events("a-1") == [first, later[0], later[2], later[1], later[3]]
    assert job.store.events("a-1", limit=2) == [later[1], later[3]]
    assert job.store.events("a-1", limit=0) == []
    assert restored(job).event_high_water == {0: 4, 1: 4}


def test_the_adjustments_of_a_job_are_those_of_all_its_attempts(job: Shelf) -> None:
    second, other = replace(JOB, attempt_id="a-2", attempt=2), replace(JOB, attempt_id="b-1", name="vit")
    job.store.write(
        Unit(jobs=[second, other], adjustments={"x": ("a-1", "{}"), "y": ("a-2", "{}"), "z": ("b-1", "{}")})
    )
    job.store.write(Unit(adjustments={"x": ("a-1", "[]")}))
    job.reopen()
    assert job.store.adjustments("gpt") == {"x": "[]", "y": "{}"}
    assert job.store.adjustments("vit") == {"z": "{}"}


def test_the_ledger_is_appended_to_and_nothing_else(job: Shelf) -> None:
    records = [LedgerRecord("gpt", seq, f"a-{seq}", 1.5, f'{{"seq":{seq}}}', "p", "h") for seq in (1, 2, 3)]
    job.store.write(Unit(ledger=records[:2]))
    for wrong in (records[0], records[1], replace(records[2], seq=4)):
        with pytest.raises(StoreError, match=rf"ledger entry {wrong.seq} of job gpt does not follow entry 2"):
            job.store.write(Unit(ledger=[wrong], snapshots={"a-1": b"x"}))
    job.store.write(Unit(ledger=[records[2], replace(records[0], job="vit")]))
    job.reopen()
    assert job.store.ledger("gpt") == records
    assert job.store.ledger("gpt", "a-2") == [records[1]]
    assert job.store.ledger("vit") == [replace(records[0], job="vit")]
    assert restored(job).snapshot is None


def test_ending_a_job_changes_nothing_of_its_samples_and_late_rows_still_fit(job: Shelf) -> None:
    put(job, RowsWrite("a-1", 0, 1, steady(0, 1500)))
    job.store.write(Unit(jobs=[replace(JOB, ended_at=300.0)], rows=[RowsWrite("a-1", 0, 1501, steady(1500, 5))]))
    put(job, RowsWrite("a-1", 0, 1506, steady(1505, 5)))
    job.reopen()
    put(job, RowsWrite("a-1", 0, 1511, steady(1510, 5)))
    assert job.store.series("a-1", "loss")[0].steps.tolist() == list(range(1515))


def test_text_that_a_database_refuses_is_kept_as_well_as_can_be(job: Shelf) -> None:
    job.store.write(
        Unit(
            rows=[RowsWrite("a-1", 0, 1, rows(0, 1, **{"lr/\x00g": [1.0]}))],
            events=[EventRecord("a-1", 0, 1, 1.0, 0, "note", "a\x00b")],
        )
    )
    assert [info.name for info in job.store.list_series("a-1")] == ["lr/\ufffdg"]
    assert job.store.events("a-1")[0].message == "a\ufffdb"


def test_the_callers_arrays_stay_the_callers(job: Shelf) -> None:
    samples = steady(0, 2)
    put(job, RowsWrite("a-1", 0, 1, samples))
    samples.columns["loss"].values[:] = 9.0
    samples.steps[:] = 9
    put(job, RowsWrite("a-1", 0, 3, steady(2, 1022)))
    assert job.store.series("a-1", "loss")[0].steps.tolist() == list(range(1024))


def test_a_closed_store_says_so(shelf: Shelf) -> None:
    shelf.store.close()
    shelf.store.close()
    with pytest.raises(StoreError, match="closed: open"):
        shelf.store.write(Unit())
    with pytest.raises(StoreError, match="closed: open"):
        shelf.store.jobs(ended=True)


def test_many_ranks_in_step_whose_chunks_wait_for_their_turn(job: Shelf) -> None:
    for start in range(0, 2100, 300):
        put(job, *(RowsWrite("a-1", rank, start + 1, steady(start, 300)) for rank in range(30)))
        job.reopen()
        read = job.store.series("a-1", "loss")
        assert {tuple(samples.steps) for samples in read.values()} == {tuple(range(start + 300))}
    assert len(job.store.series("a-1", "loss")) == 30
