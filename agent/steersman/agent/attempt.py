"""One attempt of a job as the agent knows it: who takes part, what it says, how it ends, and what is kept of it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from steersman.agent.columns import RowBuffer
from steersman.agent.events import fields
from steersman.agent.limits import Keeper, Limits, Standing
from steersman.agent.spool import Spool
from steersman.v1 import telemetry_pb2, types_pb2

MAX_EVENTS = 256
"""Events kept of one attempt until its end is acknowledged; the oldest go."""

MAX_RANKS = 1024
PAPERS = "attempt.json"

_log = logging.getLogger("steersman.agent")


@dataclass
class Papers:
    """What is kept of an attempt beside its rows, in one small file.

    Attributes:
        hello: the `JobHello`, as JSON.
        end: the `JobEnd`, as JSON; empty while the job runs.
        daemon: HOST:PORT of the daemon it is for.
        granted: the name the daemon gave; empty until it did.
        parent: the attempt under whose launcher this one runs; empty where it is its own.
        launcher: mark of the process that started it; empty where nobody did.
        command_pid: mark of the command that the launcher started.
        processes: mark of the process of each rank.
        left: how each rank that has left said goodbye: finished, failed or detached.
        standing: what the limits have permitted so far.
        events: `JobEvent`s, as JSON.
        event_seq: number of the last event of each rank.
        acks: last `AdjustmentAck` by adjustment and rank, as JSON.
    """

    hello: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)
    daemon: str = ""
    granted: str = ""
    parent: str = ""
    launcher: str = ""
    command_pid: str = ""
    processes: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    standing: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    event_seq: dict[str, int] = field(default_factory=dict)
    acks: dict[str, dict[str, Any]] = field(default_factory=dict)


class Attempt:
    """One attempt of a job.

    Args:
        attempt_id: its UUID.
        folder: where its spool and papers are kept.
        spool: its rows; opened by `load`.
    """

    def __init__(self, attempt_id: str, folder: Path, spool: Spool) -> None:
        self.attempt_id = attempt_id
        self.folder = folder
        self.spool = spool
        self.papers = Papers()
        self.hello = telemetry_pb2.JobHello(attempt_id=attempt_id)
        self.end: telemetry_pb2.JobEnd | None = None
        self.events: deque[telemetry_pb2.JobEvent] = deque(maxlen=MAX_EVENTS)
        self.buffers: dict[int, RowBuffer] = {}
        self.keeper = Keeper(attempt_id, Limits(), "observe", Standing())
        self.hello_version = 0
        self.alone_since: float | None = None
        self.settled = False
        self.leaving = False
        self._changed = False
        self._spool_failures = 0

    @property
    def job(self) -> str:
        """The name granted, or, until then, the one asked for."""
        return self.papers.granted or self.hello.job

    @property
    def rows_seen(self) -> int:
        """Rows that came from the probes, those an earlier agent took included."""
        return sum(max(b.last_seq, self.spool.last_seq(rank)) for rank, b in self._all_buffers())

    @property
    def unsent_rows(self) -> int:
        """Rows that are not yet durable at the daemon."""
        return self.spool.pending_rows() + sum(len(buffer) for buffer in self.buffers.values())

    def pids(self) -> dict[str, int]:
        """The processes of the ranks that the probe has not left, by rank."""
        papers = self.papers
        return {
            rank: int(mark.partition(":")[0])
            for rank, mark in papers.processes.items()
            if mark and rank not in papers.left
        }

    def load(self) -> None:
        """Open the spool, and read the papers an earlier agent left.

        Raises:
            OSError: the folder cannot be read.
        """
        self.spool.open()
        try:
            given = json.loads((self.folder / PAPERS).read_text())
            self.papers = Papers(**{k: v for k, v in given.items() if k in Papers.__dataclass_fields__})
            json_format.ParseDict(self.papers.hello, self.hello, ignore_unknown_fields=True)
            if self.papers.end:
                self.end = json_format.ParseDict(self.papers.end, telemetry_pb2.JobEnd(), ignore_unknown_fields=True)
            for event in self.papers.events:
                self.events.append(json_format.ParseDict(event, telemetry_pb2.JobEvent(), ignore_unknown_fields=True))
        except FileNotFoundError:
            pass
        except (ValueError, TypeError, AttributeError, json_format.ParseError) as error:
            # The rows are worth sending even where nobody knows any more what the job was called.
            _log.warning("papers_unreadable", extra=fields(attempt=self.attempt_id, reason=str(error)))
        self.hello.attempt_id = self.attempt_id
        self._new_keeper(Standing.of(self.papers.standing))

    def save(self) -> None:
        """Write the papers where something changed since the last time; a full disk is counted, never raised."""
        if not self._changed:
            return
        self.papers.hello = json_format.MessageToDict(self.hello, preserving_proto_field_name=True)
        self.papers.end = (
            json_format.MessageToDict(self.end, preserving_proto_field_name=True) if self.end is not None else {}
        )
        self.papers.events = [json_format.MessageToDict(e, preserving_proto_field_name=True) for e in self.events]
        self.papers.standing = asdict(self.keeper.standing)
        path = self.folder / PAPERS
        try:
            draft = path.with_suffix(".new")
            with draft.open("w") as file:
                json.dump(asdict(self.papers), file)
                file.flush()
                os.fdatasync(file.fileno())
            draft.replace(path)
        except OSError as error:
            self.spool.failures += 1
            self.spool.last_failure = f"{error.strerror or error} ({path})"
            return
        self._changed = False

    def touch(self) -> None:
        """The papers have changed."""
        self._changed = True

    def opens(self, message: Mapping[str, Any], host: str, user: str, now: float) -> None:
        """Take over what a launcher or a probe says of the job; what was said first stays."""
        hello = self.hello
        hello.job = hello.job or str(message.get("job") or "job")[:200]
        hello.command = hello.command or str(message.get("command") or "")[:512]
        hello.way_in = hello.way_in or str(message.get("way_in") or "watch")[:16]
        hello.host, hello.user = hello.host or host, hello.user or user
        hello.started_at = hello.started_at or float(message.get("started_at") or now)
        hello.planned_steps = hello.planned_steps or max(0, int(message.get("planned_steps") or 0))
        hello.world_size = max(hello.world_size, int(message.get("world_size") or 1), 1)
        if hello.policy == types_pb2.POLICY_UNSPECIFIED:
            policy = str(message.get("policy") or "observe")
            hello.policy = types_pb2.Policy.Value(f"POLICY_{policy.upper()}")
            hello.limits.CopyFrom(types_pb2.Limits(**Limits.of_packet(message.get("limits") or {}).as_fields()))
            self._new_keeper(self.keeper.standing)
        self.hello_version += 1
        self.touch()

    def joins(self, rank: int, message: Mapping[str, Any], process: str) -> None:
        """A probe of this rank has said hello."""
        info = next((known for known in self.hello.ranks if known.rank == rank), None)
        if info is None:
            info = self.hello.ranks.add(rank=rank)
        info.pid = int(process.partition(":")[0] or 0)
        info.torch_version = str(message.get("torch") or "")[:64]
        info.python_version = str(message.get("python") or "")[:64]
        info.device = str(message.get("device") or "")[:64]
        del info.optimizers[:]
        for optimizer in list(message.get("optimizers") or [])[:16]:
            info.optimizers.add(
                class_name=str(optimizer.get("class_name") or "")[:200],
                groups=[str(group)[:64] for group in list(optimizer.get("groups") or [])[:64]],
                parameters=max(0, int(optimizer.get("parameters") or 0)),
                overlay=str(optimizer.get("overlay") or "")[:512],
            )
        self.papers.processes[str(rank)] = process
        self.papers.left.pop(str(rank), None)
        self.buffer(rank)
        self.touch()

    def has_left(self) -> bool:
        """Whether every rank that took part has said goodbye."""
        return bool(self.papers.processes) and set(self.papers.processes) == set(self.papers.left)

    def buffer(self, rank: int) -> RowBuffer:
        """The rows of a rank since the last flush."""
        if rank not in self.buffers:
            self.buffers[rank] = RowBuffer(self.spool.last_seq(rank))
        return self.buffers[rank]

    def note(self, rank: int, time: float, kind: str, message: str, step: int = -1, count: int = 0) -> None:
        """Something happened that is no sample."""
        number = self.papers.event_seq.get(str(rank), 0) + 1
        self.papers.event_seq[str(rank)] = number
        self.events.append(
            telemetry_pb2.JobEvent(
                attempt_id=self.attempt_id,
                rank=rank,
                time=time,
                step=step,
                kind=kind[:64],
                message=message[:512],
                count=max(0, count),
                event_seq=number,
            )
        )
        self.touch()

    def flush(self, now: float) -> bool:
        """Move the rows from memory to the spool; whether there were any."""
        any_rows = False
        for rank, buffer in self.buffers.items():
            if not len(buffer):
                continue
            any_rows = True
            if buffer.missing:
                words = f"{buffer.missing} rows never reached this agent: an earlier one was killed with them in hand"
                self.note(rank, now, "rows_lost", words, count=buffer.missing)
                buffer.missing = 0
            self.keeper.see(*buffer.own_lr())
            for batch in buffer.take(self.attempt_id, rank):
                self.spool.append(rank, batch.first_seq, batch.rows, batch.SerializeToString())
        for rank, count in self.spool.take_lost().items():
            self.note(
                rank, now, "rows_lost", f"{count} rows were dropped: the agent's spool is full or damaged", count=count
            )
        failures = self.spool.failures
        if failures > 2 * self._spool_failures:
            # Said at the first, and each time that there are more than twice as many: a disk that stays full would
            # otherwise push every other event out, ten times a second.
            count, self._spool_failures = failures - self._spool_failures, failures
            words = f"the agent cannot write its spool and holds rows in memory: {self.spool.last_failure}"
            self.note(0, now, "spool_failed", words, count=count)
            _log.error("spool_failed", extra=fields(attempt=self.attempt_id, reason=self.spool.last_failure))
        return any_rows

    def ends(self, end: telemetry_pb2.JobEnd, now: float) -> None:
        """The job is over; the first word on how it ended holds."""
        if self.end is not None:
            return
        self.flush(now)
        self.end = end
        self.touch()
        _log.info(
            "job_ended",
            extra=fields(
                attempt=self.attempt_id,
                job=self.job,
                outcome=telemetry_pb2.JobEnd.Outcome.Name(end.outcome),
                exit_code=end.exit_code,
                signal=end.signal,
            ),
        )

    def take_ack(self, ack: telemetry_pb2.AdjustmentAck) -> None:
        """Keep the last word on an adjustment, to say it again after a reconnection."""
        key = f"{ack.adjustment_id}/{ack.rank}"
        self.papers.acks.pop(key, None)
        self.papers.acks[key] = json_format.MessageToDict(ack, preserving_proto_field_name=True)
        while len(self.papers.acks) > 32:
            del self.papers.acks[next(iter(self.papers.acks))]
        self.touch()

    def acks(self) -> list[telemetry_pb2.AdjustmentAck]:
        """The last word on each of the latest adjustments."""
        found = []
        for given in self.papers.acks.values():
            with contextlib.suppress(json_format.ParseError):
                found.append(json_format.ParseDict(given, telemetry_pb2.AdjustmentAck(), ignore_unknown_fields=True))
        return found

    def forget(self) -> None:
        """The daemon has everything on disk: remove what is kept."""
        self.settled = True
        self.spool.remove()

    def _new_keeper(self, standing: Standing) -> None:
        given = self.hello.limits
        limits = Limits.of_packet({name: getattr(given, name) for name in Limits.__dataclass_fields__})
        policy = types_pb2.Policy.Name(self.hello.policy).removeprefix("POLICY_").lower()
        old = self.keeper
        self.keeper = Keeper(self.attempt_id, limits, policy, standing)
        self.keeper.see(old.step, old.own_lr)

    def _all_buffers(self) -> Iterator[tuple[int, RowBuffer]]:
        for rank in {*self.spool.ranks(), *self.buffers}:
            yield rank, self.buffers.get(rank) or RowBuffer()
