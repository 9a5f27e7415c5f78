"""What operators ask for, over the wire, with a job that obeys."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs
from tests.monitor.agent_in_test import AgentInTest, batch, until
from tests.monitor.scripted_rules import ScriptedRules

from steersman.monitor.daemon import Daemon
from steersman.monitor.errors import StoreError
from steersman.monitor.store import open_store
from steersman.monitor.store.contract import Store, Unit
from steersman.v1 import operator_pb2 as op
from steersman.v1 import operator_pb2_grpc as rpc
from steersman.v1 import telemetry_pb2 as pb
from steersman.v1 import types_pb2 as types

Start = Callable[..., Awaitable[Daemon]]
Connect = Callable[[Daemon], AgentInTest]
ROWS = {"loss": [3.0] * 40, "lr/0": [0.1] * 40}


def operators(agent: AgentInTest) -> Any:
    return rpc.OperatorServiceStub(agent.channel)


def scale(value: float, **fields: Any) -> op.ProposeAdjustmentRequest:
    told: dict[str, Any] = {"job": "run", "kind": types.ADJUSTMENT_KIND_SCALE, "operator": "ann", "reason": "try"}
    return op.ProposeAdjustmentRequest(value=value, **{**told, **fields})


def answer(command: pb.AdjustmentCommand, step: int) -> pb.StreamRequest:
    return pb.StreamRequest(
        adjustment_ack=pb.AdjustmentAck(
            adjustment_id=command.adjustment_id,
            attempt_id=command.attempt_id,
            state=pb.AdjustmentAck.STATE_APPLIED,
            step=step,
            lr=[0.1 * command.overlay.factor],
            own_lr=[0.1],
            time=3_000.0,
        )
    )


async def code(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code(), failed.value.details() or ""


async def watched(start: Start, connect: Connect, **settings: Any) -> tuple[Daemon, AgentInTest]:
    daemon = await start(**settings)
    agent = connect(daemon)
    await agent.open("a1")
    await agent.batches(batch("a1", 1, ROWS))
    await agent.all_durable("a1", 40)
    return daemon, agent


async def test_an_adjustment_from_proposal_to_ledger_and_back(start: Start, connect: Connect) -> None:
    _, agent = await watched(start, connect)
    ask = operators(agent)
    dry = (await ask.ProposeAdjustment(scale(0.5, dry_run=True))).adjustment
    assert (dry.total_factor, dry.detail) == (0.5, "dry run: nothing was done")
    made = (await ask.ProposeAdjustment(scale(0.5))).adjustment
    assert (made.state, made.by) == (types.ADJUSTMENT_STATE_APPROVED, "operator ann")
    command = (await until(lambda: agent.commands, "the command"))[0]
    assert (command.overlay.factor, command.by_operator, command.undo) == (0.5, True, False)
    await agent.send(answer(command, 40))

    async def state() -> int:
        return int((await ask.ListAdjustments(op.ListAdjustmentsRequest(job="run"))).adjustments[0].state)

    while await state() != types.ADJUSTMENT_STATE_APPLIED:
        pass
    await ask.RevertAdjustment(op.RevertAdjustmentRequest(job="run", operator="bob", reason="enough"))
    undo = (await until(lambda: agent.commands[1:], "the command back"))[0]
    assert (undo.overlay.factor, undo.undo, undo.counter > command.counter) == (1.0, True, True)
    await agent.send(answer(undo, 44))
    while await state() != types.ADJUSTMENT_STATE_REVERTED:
        pass
    ledger = await ask.GetLedger(op.GetLedgerRequest(job="run"))
    assert ledger.verified
    words = [types.AdjustmentState.Name(e.state).removeprefix("ADJUSTMENT_STATE_").lower() for e in ledger.entries]
    assert words == ["proposed", "approved", "applied", "reverted"]
    assert [e.by for e in ledger.entries] == ["operator ann", "operator ann", "job", "operator bob"]
    assert list(ledger.entries[2].ranks[0].lr) == [0.05]


async def test_a_job_that_was_detached_has_its_own_learning_rate_again(start: Start, connect: Connect) -> None:
    _, agent = await watched(start, connect)
    ask = operators(agent)
    await ask.ProposeAdjustment(scale(0.5))
    command = (await until(lambda: agent.commands, "the command"))[0]
    await agent.send(answer(command, 40))
    under = {"loss": [3.0] * 4, "lr/0": [0.05] * 4, "own_lr/0": [0.1] * 4}
    await agent.batches(batch("a1", 41, under))
    await agent.all_durable("a1", 44)

    async def standing() -> tuple[float, float, float]:
        job = (await ask.GetJob(op.GetJobRequest(job="run"))).job
        return job.lr, job.own_lr, job.total_factor

    while await standing() != (0.05, 0.1, 0.5):
        pass
    end = pb.JobEnd(attempt_id="a1", outcome=pb.JobEnd.OUTCOME_DETACHED, time=3_001.0)
    await agent.send(pb.StreamRequest(job_end=end))
    while (await ask.GetJob(op.GetJobRequest(job="run"))).job.state != op.JOB_STATE_DETACHED:
        pass
    assert await standing() == (0.1, 0.1, 1.0)


async def test_a_record_that_lost_its_newest_entry_is_not_verified(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    _, agent = await watched(start, connect)
    ask = operators(agent)
    made = (await ask.ProposeAdjustment(scale(0.5))).adjustment
    assert (await ask.GetLedger(op.GetLedgerRequest(job="run"))).verified
    with contextlib.closing(sqlite3.connect(tmp_path / "daemon.db")) as store:
        store.execute("DELETE FROM ledger WHERE seq = (SELECT max(seq) FROM ledger)")
        store.commit()
    ledger = await ask.GetLedger(op.GetLedgerRequest(job="run"))
    assert not ledger.verified
    assert ledger.problem.startswith(f"adjustment {made.id} of job run is approved, and the last entry about it says")


async def test_approve_and_reject(start: Start, connect: Connect) -> None:
    daemon = await start(ScriptedRules(fire_at=frozenset({10})))
    agent = connect(daemon)
    await agent.open("a1", policy=types.POLICY_APPROVE)
    await agent.batches(batch("a1", 1, ROWS))
    await agent.all_durable("a1", 40)
    ask = operators(agent)
    (waiting,) = (await ask.ListAdjustments(op.ListAdjustmentsRequest(waiting=True))).adjustments
    assert (waiting.by, waiting.verdict) == ("policy approve", "lr_too_high")
    job = (await ask.GetJob(op.GetJobRequest(job="run"))).job
    assert (job.waiting_adjustments, job.diagnosis.headline) == (1, "learning rate too high")
    assert not agent.commands
    approved = await ask.ApproveAdjustment(op.ApproveAdjustmentRequest(adjustment_id=waiting.id, operator="ann"))
    assert approved.adjustment.state == types.ADJUSTMENT_STATE_APPROVED
    await until(lambda: agent.commands, "the command")
    late = op.RejectAdjustmentRequest(adjustment_id=waiting.id, operator="ann")
    status, words = await code(ask.RejectAdjustment(late))
    assert (status, "does not wait for a decision: it is approved" in words) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        True,
    )


async def test_what_waits_when_a_job_ends_waits_no_longer(start: Start, connect: Connect) -> None:
    daemon = await start(ScriptedRules(fire_at=frozenset({10})))
    agent = connect(daemon)
    await agent.open("a1", policy=types.POLICY_ADVISE)
    await agent.batches(batch("a1", 1, ROWS))
    await agent.all_durable("a1", 40)
    ask = operators(agent)
    (waiting,) = (await ask.ListAdjustments(op.ListAdjustmentsRequest(waiting=True))).adjustments
    end = pb.JobEnd(attempt_id="a1", outcome=pb.JobEnd.OUTCOME_FINISHED, time=3_000.0)
    await agent.send(pb.StreamRequest(job_end=end))
    while (await ask.ListAdjustments(op.ListAdjustmentsRequest(waiting=True))).adjustments:
        pass
    detail = await ask.GetJob(op.GetJobRequest(job="run"))
    (expired,) = detail.adjustments
    assert (expired.id, expired.state) == (waiting.id, types.ADJUSTMENT_STATE_EXPIRED)
    assert (expired.detail, detail.job.waiting_adjustments) == ("the job ended before anybody decided", 0)


async def test_errors_have_their_codes_and_words(start: Start, connect: Connect) -> None:
    _, agent = await watched(start, connect)
    ask = operators(agent)
    cases = [
        (ask.GetJob(op.GetJobRequest(job="nope")), grpc.StatusCode.NOT_FOUND, "there is no job nope"),
        (
            ask.GetSeries(op.GetSeriesRequest(job="run", name="lss")),
            grpc.StatusCode.NOT_FOUND,
            "has no series 'lss'; it has: loss, lr/0",
        ),
        (
            ask.GetSeries(op.GetSeriesRequest(job="run", name="loss", ranks=[0, 5])),
            grpc.StatusCode.NOT_FOUND,
            "job run has no rank 5; there are: 0",
        ),
        (ask.GetLedger(op.GetLedgerRequest(job="run", attempt=7)), grpc.StatusCode.NOT_FOUND, "attempt 7 of job run"),
        (ask.ProposeAdjustment(scale(99.0)), grpc.StatusCode.FAILED_PRECONDITION, "above the owner's most, 16"),
        (ask.ProposeAdjustment(scale(0.5, job="nope")), grpc.StatusCode.NOT_FOUND, "there is no job nope"),
        (ask.ProposeAdjustment(scale(0.5, kind=0)), grpc.StatusCode.INVALID_ARGUMENT, "no kind of adjustment"),
        (
            ask.ApproveAdjustment(op.ApproveAdjustmentRequest(adjustment_id="x")),
            grpc.StatusCode.NOT_FOUND,
            "no job in progress has an adjustment x",
        ),
        (ask.RevertAdjustment(op.RevertAdjustmentRequest()), grpc.StatusCode.INVALID_ARGUMENT, "name an adjustment"),
    ]
    for call, status, words in cases:
        got = await code(call)
        assert got[0] is status, got
        assert words in got[1]


async def test_a_job_that_ended_can_be_read_but_not_steered(start: Start, connect: Connect) -> None:
    daemon, agent = await watched(start, connect)
    end = pb.JobEnd(attempt_id="a1", outcome=pb.JobEnd.OUTCOME_FAILED, exit_code=3, time=3_000.0)
    await agent.send(pb.StreamRequest(job_end=end))
    await until(lambda: daemon.board.all()[0].ended, "the end")
    ask = operators(agent)
    status, words = await code(ask.ProposeAdjustment(scale(0.5)))
    assert (status, words) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "job run has ended (failed): there is nothing left to steer",
    )
    await agent.close()
    await daemon.drain()
    await daemon.stop()
    after = connect(await start())
    assert not (await operators(after).ListJobs(op.ListJobsRequest())).jobs
    (job,) = (await operators(after).ListJobs(op.ListJobsRequest(ended=True))).jobs
    assert (job.state, job.exit_code, job.rows, job.step, job.loss) == (op.JOB_STATE_FAILED, 3, 40, 39, 3.0)


async def test_watch_gives_a_snapshot_then_changes(start: Start, connect: Connect) -> None:
    _, agent = await watched(start, connect)
    watch = operators(agent).WatchJobs(op.WatchJobsRequest(max_rate_hz=20))
    first = await watch.read()
    assert (first.job.name, first.job.step, first.job.agent_connected) == ("run", 39, True)
    assert (await watch.read()).snapshot_done
    for first_seq in (41, 81, 121):
        await agent.batches(batch("a1", first_seq, ROWS))
    while (await watch.read()).job.step != 159:
        pass
    watch.cancel()


async def test_series_are_thinned_and_cut(start: Start, connect: Connect) -> None:
    _, agent = await watched(start, connect)
    losses = list(np.random.default_rng(0).normal(size=2000))
    losses[777] = 50.0
    await agent.batches(batch("a1", 41, {"loss": losses}))
    await agent.all_durable("a1", 2040)
    ask = operators(agent)
    (rank,) = (await ask.GetSeries(op.GetSeriesRequest(job="run", name="loss", resolution=100))).ranks
    values = np.frombuffer(rank.values, "<f8")
    assert len(values) <= 100
    assert values.max() == 50.0
    none = await ask.GetSeries(op.GetSeriesRequest(job="run", name="loss", ranks=[0], from_step=10**9))
    assert not none.ranks
    part = await ask.GetSeries(op.GetSeriesRequest(job="run", name="loss", from_step=5, to_step=7))
    assert np.frombuffer(part.ranks[0].steps, "<i8").tolist() == [5, 6, 7]
    names = await ask.ListSeries(op.ListSeriesRequest(job="run"))
    assert [(s.name, s.points) for s in names.series] == [("loss", 2040), ("lr/0", 40)]


async def test_health_and_reflection(start: Start, connect: Connect) -> None:
    daemon = await start()
    agent = connect(daemon)
    name = "steersman.v1.OperatorService"
    check: Any = health_pb2_grpc.HealthStub(agent.channel)
    assert (await check.Check(health_pb2.HealthCheckRequest(service=name))).status == 1
    channel: Any = agent.channel
    reflect: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = reflect.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    listed = [s.name for s in (await call.read()).list_services_response.service]
    assert {name, "steersman.v1.TelemetryService", "grpc.health.v1.Health"} <= set(listed)
    about = await operators(agent).GetDaemon(op.GetDaemonRequest())
    assert (about.rules, list(about.rule_files), about.protocol_max) == (1, ["scripted.yaml"], 1)


async def test_rules_that_break_on_a_job_do_not_stop_its_rows(start: Start, connect: Connect) -> None:
    _, agent = await watched(start, connect, rules=ScriptedRules(breaks_at=20))
    await agent.batches(batch("a1", 41, ROWS))
    await agent.all_durable("a1", 80)


async def test_a_rule_that_is_stopped_is_logged_and_shown(start: Start, connect: Connect) -> None:
    with capture_logs() as said:
        _, agent = await watched(start, connect, rules=ScriptedRules(slow_at=20))
        await agent.batches(batch("a1", 41, ROWS))
        await agent.all_durable("a1", 80)
        await until(lambda: any(s["event"] == "rule_stopped" for s in said), "rule_stopped")
    (line,) = [s for s in said if s["event"] == "rule_stopped"]
    assert (line["rule"], line["step"], line["reason"]) == ("scripted", 20, "too slow: it was scripted")
    (event,) = (await operators(agent).GetJob(op.GetJobRequest(job="run"))).events
    assert (event.kind, event.step, event.rank) == ("rule_stopped", 20, 0)
    assert event.message == "Rule scripted is switched off for this job: too slow: it was scripted."


class _FullDisk:
    """A store whose writes fail while `full` is set."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.full = False
        self.failed = 0

    def write(self, unit: Unit) -> None:
        if self.full:
            self.failed += 1
            raise StoreError("the disk is full")
        self.inner.write(unit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_a_store_that_fails_acknowledges_nothing_and_loses_nothing(start: Start, connect: Connect) -> None:
    stores: list[_FullDisk] = []

    def opener(url: str) -> Any:
        stores.append(_FullDisk(open_store(url)))
        return stores[-1]

    daemon, agent = await watched(start, connect, open_store=opener)
    stores[0].full = True
    await agent.batches(batch("a1", 41, ROWS))
    await until(lambda: agent.taken["a1", 0] == 80 and stores[0].failed > 1, "two failed writes")
    assert agent.durable["a1", 0] == 40
    text = daemon.meters.store_failures._value.get()
    assert text >= 2
    stores[0].full = False
    await agent.all_durable("a1", 80)
    (rank,) = (await operators(agent).GetSeries(op.GetSeriesRequest(job="run", name="loss"))).ranks
    assert len(rank.steps) == 8 * 80


async def test_what_waits_for_a_failing_store_is_bounded(start: Start, connect: Connect) -> None:
    from steersman.monitor.settings import IngestSettings

    stores: list[_FullDisk] = []

    def opener(url: str) -> Any:
        stores.append(_FullDisk(open_store(url)))
        return stores[-1]

    bounds = IngestSettings(commit_interval_s=0.01, max_waiting_bytes=5_000)
    _, agent = await watched(start, connect, open_store=opener, ingest=bounds)
    stores[0].full = True
    for first in range(41, 41 + 40 * 50, 40):
        await agent.batches(batch("a1", first, ROWS))
    await until(lambda: stores[0].failed > 1, "two failed writes")
    assert agent.taken["a1", 0] < 1_000  # the stream is not read on
    stores[0].full = False
    await agent.all_durable("a1", 2040)
