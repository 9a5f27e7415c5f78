"""Questions that a running job answers: who is asked, and what the one who asked hears when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.monitor.agent_in_test import AgentInTest, batch, until

from steersman.monitor.daemon import Daemon
from steersman.monitor.errors import LimitError
from steersman.monitor.inquiries import MOST_OPEN, Inquiries, Inquiry, Provenance
from steersman.v1 import operator_pb2 as op
from steersman.v1 import operator_pb2_grpc as rpc
from steersman.v1 import telemetry_pb2 as pb
from steersman.v1 import types_pb2 as types

Start = Callable[..., Awaitable[Daemon]]
Connect = Callable[[Daemon], AgentInTest]


def ask(agent: AgentInTest, **fields: Any) -> Any:
    stub: Any = rpc.OperatorServiceStub(agent.channel)
    return stub.GetProvenance(op.GetProvenanceRequest(**{"job": "run", **fields}))


async def question(agent: AgentInTest) -> pb.Inquiry:
    found = await until(
        lambda: next((m.inquiry for m in agent.received if m.WhichOneof("message") == "inquiry"), None), "the question"
    )
    assert isinstance(found, pb.Inquiry)
    return found


def answer(asked: pb.Inquiry, **fields: Any) -> pb.StreamRequest:
    told = {"inquiry_id": asked.inquiry_id, "attempt_id": asked.attempt_id, "rank": asked.rank, **fields}
    return pb.StreamRequest(provenance=pb.Provenance(**told))


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_the_question_reaches_the_agent_and_its_answer_whoever_asked(start: Start, connect: Connect) -> None:
    daemon = await start()
    agent = connect(daemon)
    await agent.open("a" * 8 + "-1")
    asking = asyncio.ensure_future(ask(agent))
    asked = await question(agent)
    assert (asked.attempt_id, asked.rank) == ("a" * 8 + "-1", 0)
    sources = [
        types.Source(series="loss", value=2.5, words="from\x1b[31m a line"),
        types.Source(series="val_loss", words="none"),
    ]
    await agent.send(answer(asked, step=7, sources=sources))
    reply = await asking
    assert (reply.job, reply.rank, reply.step, reply.problem) == ("run", 0, 7, "")
    assert [(s.series, s.value, s.HasField("value"), s.words) for s in reply.sources] == [
        ("loss", 2.5, True, "from[31m a line"),
        ("val_loss", 0.0, False, "none"),
    ]


async def test_what_an_agent_cannot_tell_is_said_in_its_words(start: Start, connect: Connect) -> None:
    agent = connect(await start())
    await agent.open("attempt-1")
    asking = asyncio.ensure_future(ask(agent))
    await agent.send(answer(await question(agent), step=-1, problem="the probe is gone"))
    assert (await asking).problem == "the probe is gone"


async def test_nobody_waits_longer_than_asked_and_a_late_answer_harms_nothing(start: Start, connect: Connect) -> None:
    agent = connect(await start())
    await agent.open("attempt-1")
    reply = await ask(agent, patience_s=0.05)
    assert "rank 0 has finished no step that could be told of within 0.05 s" in reply.problem
    await agent.send(answer(await question(agent), step=3))
    await agent.batches(batch("attempt-1", 1, {"loss": [1.0]}))
    await agent.all_durable("attempt-1", 1)


async def test_an_answer_of_an_agent_that_does_not_carry_the_job_is_not_taken(start: Start, connect: Connect) -> None:
    daemon = await start()
    agent, other = connect(daemon), connect(daemon)
    await agent.open("attempt-1")
    await other.open("attempt-2", job="other")
    asking = asyncio.ensure_future(ask(agent))
    asked = await question(agent)
    await other.send(answer(asked, step=1, problem="forged"))
    await other.batches(batch("attempt-2", 1, {"loss": [1.0]}))
    await other.all_durable("attempt-2", 1)  # what it sent before has been read
    await agent.send(answer(asked, step=2))
    assert (await asking).step == 2


async def test_who_cannot_be_asked_is_said_at_once(start: Start, connect: Connect) -> None:
    daemon = await start()
    agent, watcher = connect(daemon), connect(daemon)
    await agent.open("attempt-1")
    assert await refused(ask(agent, job="none")) == (
        grpc.StatusCode.NOT_FOUND,
        "there is no job none; `steersman jobs --all` lists what there is",
    )
    code, words = await refused(ask(agent, rank=5))
    assert (code, "has no rank 5 that a probe speaks for; there are: 0" in words) == (grpc.StatusCode.NOT_FOUND, True)
    await agent.close()
    await until(lambda: not daemon.streams.connected("attempt-1"), "the agent's end")
    code, words = await refused(ask(watcher))
    assert (code, words) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "no agent of this job is connected: nobody can be asked at present",
    )


async def test_a_daemon_that_goes_down_lets_nobody_wait(start: Start, connect: Connect) -> None:
    daemon = await start()
    agent = connect(daemon)
    await agent.open("attempt-1")
    asking = asyncio.ensure_future(ask(agent, patience_s=500.0))
    await question(agent)
    await daemon.drain()
    code, _ = await refused(asking)
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_so_many_may_wait_and_no_more() -> None:
    sent: list[Inquiry] = []

    def send(inquiry: Inquiry) -> bool:
        sent.append(inquiry)
        return True

    inquiries = Inquiries(send)
    waiting = [asyncio.ensure_future(inquiries.ask("a", 0, 60.0)) for _ in range(MOST_OPEN)]
    await until(lambda: len(sent) == MOST_OPEN, "as many questions as may wait")
    with pytest.raises(LimitError, match="wait for their answers already"):
        await inquiries.ask("a", 0, 60.0)
    for inquiry in sent:
        inquiries.answered(inquiry.inquiry_id, Provenance(1))
        inquiries.answered(inquiry.inquiry_id, Provenance(2))
    assert {one.step for one in await asyncio.gather(*waiting)} == {1}
    assert (await inquiries.ask("a", 0, 0.01)).problem
