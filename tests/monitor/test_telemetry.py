"""The agents' side: hello, batches in any cut, refusals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from tests.monitor.agent_in_test import AgentInTest, batch, hello, job_hello, until

from steersman.monitor.daemon import Daemon
from steersman.monitor.settings import IngestSettings
from steersman.v1 import operator_pb2 as op
from steersman.v1 import operator_pb2_grpc as operator_rpc
from steersman.v1 import telemetry_pb2 as pb
from steersman.v1 import types_pb2 as types

Start = Callable[..., Awaitable[Daemon]]
Connect = Callable[[Daemon], AgentInTest]


def operators(agent: AgentInTest) -> Any:
    return operator_rpc.OperatorServiceStub(agent.channel)


async def series(agent: AgentInTest, job: str, name: str, rank: int = 0) -> tuple[list[int], list[float]]:
    reply = await operators(agent).GetSeries(op.GetSeriesRequest(job=job, name=name))
    found = next(r for r in reply.ranks if r.rank == rank)
    return np.frombuffer(found.steps, "<i8").tolist(), np.frombuffer(found.values, "<f8").tolist()


LOSS = [float(x) for x in np.linspace(4.0, 1.0, 40)]


async def test_any_cut_duplicates_and_gaps_store_each_row_once(start: Start, connect: Connect) -> None:
    agent = connect(await start())
    await agent.open("a1")
    await agent.batches(batch("a1", 1, {"loss": LOSS[:7]}))
    await agent.batches(batch("a1", 20, {"loss": LOSS[19:]}))  # a gap: not taken
    await agent.batches(batch("a1", 5, {"loss": LOSS[4:12]}), batch("a1", 1, {"loss": LOSS[:3]}))
    await agent.batches(batch("a1", 10, {"loss": LOSS[9:]}))
    await agent.all_durable("a1", 40)
    assert await series(agent, "run", "loss") == (list(range(40)), LOSS)


async def test_a_gap_is_not_acknowledged_as_received(start: Start, connect: Connect) -> None:
    agent = connect(await start())
    await agent.open("a1")
    await agent.batches(batch("a1", 1, {"loss": LOSS[:7]}), batch("a1", 20, {"loss": LOSS[19:]}))
    await agent.all_durable("a1", 7)
    assert agent.taken["a1", 0] == 7


async def test_rows_that_are_lost_for_good_are_passed_over(start: Start, connect: Connect) -> None:
    agent = connect(await start())
    await agent.open("a1")
    await agent.batches(batch("a1", 1, {"loss": LOSS[:7]}), batch("a1", 20, {"loss": LOSS[19:]}, skipped=12))
    await agent.all_durable("a1", 40)
    steps, _ = await series(agent, "run", "loss")
    assert steps == [*range(7), *range(19, 40)]
    job = (await operators(agent).GetJob(op.GetJobRequest(job="run"))).job
    assert (job.rows, job.rows_lost) == (28, 12)


async def test_a_reconnect_is_told_where_to_go_on(start: Start, connect: Connect) -> None:
    daemon = await start()
    first = connect(daemon)
    await first.open("a1")
    await first.batches(batch("a1", 1, {"loss": LOSS[:7]}))
    await first.all_durable("a1", 7)
    await first.close()
    second = connect(daemon)
    welcome = await second.open("a1")
    assert [(d.rank, d.durable_seq) for d in welcome.durable] == [(0, 7)]
    assert (welcome.job, welcome.attempt) == ("run", 1)
    await second.batches(batch("a1", 8, {"loss": LOSS[7:]}))
    await second.all_durable("a1", 40)
    assert (await series(second, "run", "loss"))[1] == LOSS


async def test_ranks_are_counted_apart(start: Start, connect: Connect) -> None:
    agent = connect(await start())
    await agent.open("a1", world_size=2)
    await agent.batches(batch("a1", 1, {"loss": LOSS}), batch("a1", 1, {"loss": LOSS[:5]}, rank=1))
    await agent.all_durable("a1", 40)
    await agent.all_durable("a1", 5, rank=1)
    assert (await series(agent, "run", "loss", rank=1))[1] == LOSS[:5]
    job = (await operators(agent).GetJob(op.GetJobRequest(job="run"))).job
    assert job.step == 4  # the slowest rank


async def test_another_protocol_is_refused_in_words(start: Start, connect: Connect) -> None:
    agent = connect(await start())
    await agent.send(hello(99, 99))
    refusal = await until(agent.refusal, "a refusal")
    assert refusal.code == pb.Refusal.CODE_PROTOCOL
    assert "speaks protocol 1, the agent on host-1 speaks 99 to 99" in refusal.message
    await until(lambda: agent.status is grpc.StatusCode.OK, "the end of the stream")


async def test_the_first_message_must_be_a_hello(start: Start, connect: Connect) -> None:
    agent = connect(await start())
    await agent.send(job_hello("a1"))
    assert (await until(agent.refusal, "a refusal")).code == pb.Refusal.CODE_MALFORMED


def _broken(**changes: Any) -> pb.Batch:
    made = batch("a1", 1, {"loss": [1.0, 2.0]})
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (_broken(rows=3), "16 bytes of steps for 3 rows"),
        (_broken(times=b"\0" * 8), "8 bytes of times for 2 rows"),
        (_broken(times=np.array([np.nan, 1.0]).tobytes()), "a time that is no number"),
        (_broken(first_seq=0), "sequence numbers start at 1"),
        (_broken(skipped=1), "skips 1 rows, more than there were"),
        (_broken(rows=5000), "5000 rows; at most 4096"),
        (_broken(attempt_id="other"), "before its job_hello"),
        (batch("a1", 1, {f"x{i}": [1.0] for i in range(65)}), "65 columns; at most 64"),
        (batch("a1", 1, {"\x07": [1.0]}), "has no name"),
    ],
)
async def test_a_batch_that_breaks_the_contract_ends_its_stream_only(
    start: Start, connect: Connect, bad: pb.Batch, words: str
) -> None:
    daemon = await start()
    other, agent = connect(daemon), connect(daemon)
    await other.open("a0", job="other")
    await agent.open("a1")
    await agent.batches(bad)
    assert words in (await until(agent.refusal, "a refusal")).message
    await until(lambda: agent.status is grpc.StatusCode.OK, "the end of the stream")
    await other.batches(batch("a0", 1, {"loss": LOSS}))
    await other.all_durable("a0", 40)


NO_TIME = float("nan")


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (
            pb.StreamRequest(event=pb.JobEvent(attempt_id="a1", time=NO_TIME, kind="k", event_seq=1)),
            "the time of an event is nan",
        ),
        (
            pb.StreamRequest(event=pb.JobEvent(attempt_id="a1", time=float("inf"), kind="k", event_seq=1)),
            "the time of an event is inf",
        ),
        (pb.StreamRequest(event=pb.JobEvent(attempt_id="", time=1.0, kind="k", event_seq=1)), "is no attempt id"),
        (
            pb.StreamRequest(job_end=pb.JobEnd(attempt_id="a1", outcome=pb.JobEnd.OUTCOME_FINISHED, time=NO_TIME)),
            "the end of a job is nan",
        ),
        (
            pb.StreamRequest(
                adjustment_ack=pb.AdjustmentAck(
                    attempt_id="a1", adjustment_id="x", state=pb.AdjustmentAck.STATE_ARMED, time=NO_TIME
                )
            ),
            "the time of an acknowledgement is nan",
        ),
        (job_hello("a2", started_at=NO_TIME), "the start of job 'run' is nan"),
        (
            job_hello("a2", limits=types.Limits(min_factor=NO_TIME)),
            "limit min_factor of job 'run' is nan",
        ),
    ],
)
async def test_what_no_store_could_write_is_refused_before_it_gets_there(
    start: Start, connect: Connect, bad: pb.StreamRequest, words: str
) -> None:
    daemon = await start()
    other, agent = connect(daemon), connect(daemon)
    await other.open("a0", job="other")
    await agent.open("a1")
    await agent.send(bad)
    assert words in (await until(agent.refusal, "a refusal")).message
    await other.batches(batch("a0", 1, {"loss": LOSS}))
    await other.all_durable("a0", 40)
    assert daemon.meters.store_failures._value.get() == 0


async def test_bytes_that_are_no_message_end_their_stream_only(start: Start, connect: Connect) -> None:
    daemon = await start()
    other = connect(daemon)
    await other.open("a0")
    raw: Any = other.channel.stream_stream("/steersman.v1.TelemetryService/Stream")()
    await raw.write(hello().SerializeToString())
    await raw.read()
    await raw.write(b"\xff" * 200)
    answer = pb.StreamResponse.FromString(await raw.read())
    assert answer.refusal.code == pb.Refusal.CODE_MALFORMED
    assert "no StreamRequest of this protocol" in answer.refusal.message
    assert await raw.read() is grpc.aio.EOF
    await other.batches(batch("a0", 1, {"loss": LOSS}))
    await other.all_durable("a0", 40)


async def test_too_many_jobs_refuses_the_next_one_and_leaves_the_others(start: Start, connect: Connect) -> None:
    agent = connect(await start(ingest=IngestSettings(commit_interval_s=0.01, max_jobs=1)))
    await agent.open("a1")
    await agent.send(job_hello("a2", job="second"))
    refusal = await until(agent.refusal, "a refusal")
    assert (refusal.code, refusal.attempt_id) == (pb.Refusal.CODE_LIMIT, "a2")
    await agent.batches(batch("a2", 1, {"loss": LOSS}), batch("a1", 1, {"loss": LOSS}))
    await agent.all_durable("a1", 40)


async def test_names(start: Start, connect: Connect) -> None:
    agent = connect(await start())
    given = [(w.job, w.attempt) for w in [await agent.open(a) for a in ("a1", "a2", "a3")]]
    assert given == [("run", 1), ("run-2", 1), ("run-3", 1)]
    end = pb.JobEnd(attempt_id="a2", outcome=pb.JobEnd.OUTCOME_KILLED, signal=9, time=3_000.0)
    await agent.send(pb.StreamRequest(job_end=end))
    welcome = await agent.open("a4", job="run-2")
    assert (welcome.job, welcome.attempt) == ("run-2", 2)
    old = (await operators(agent).GetJob(op.GetJobRequest(job="run-2", attempt=1))).job
    assert (old.state, old.signal, old.ended_at) == (op.JOB_STATE_KILLED, 9, 3_000.0)


async def test_the_end_of_a_job_is_acknowledged_when_it_is_on_disk_also_when_it_is_told_again(
    start: Start, connect: Connect
) -> None:
    agent = connect(await start())
    await agent.open("a1")
    end = pb.JobEnd(attempt_id="a1", outcome=pb.JobEnd.OUTCOME_FINISHED, time=3_000.0)
    for times in (1, 2):
        await agent.send(pb.StreamRequest(job_end=end))
        await until(lambda times=times: len(agent.ended("a1")) == times, "the acknowledgement")  # type: ignore[misc]
    assert (await operators(agent).GetJob(op.GetJobRequest(job="run"))).job.state == op.JOB_STATE_FINISHED


async def test_an_event_told_twice_is_one_event(start: Start, connect: Connect) -> None:
    agent = connect(await start())
    await agent.open("a1")
    event = pb.JobEvent(attempt_id="a1", time=5.0, step=3, kind="norm_thinned", message="why", event_seq=1)
    for _ in range(2):
        await agent.send(pb.StreamRequest(event=event))
    await agent.batches(batch("a1", 1, {"loss": LOSS}))
    await agent.all_durable("a1", 40)
    events = (await operators(agent).GetJob(op.GetJobRequest(job="run"))).events
    assert [(e.kind, e.step, e.message) for e in events] == [("norm_thinned", 3, "why")]
