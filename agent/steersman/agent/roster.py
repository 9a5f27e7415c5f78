"""All attempts of this agent, between the local socket and the daemon."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from steersman.agent import orders, processes
from steersman.agent.attempt import Attempt
from steersman.agent.delivery import Delivery
from steersman.agent.events import fields
from steersman.agent.local import Client
from steersman.agent.probe import packet
from steersman.agent.spool import Spool
from steersman.v1 import telemetry_pb2

MAX_ATTEMPTS = 256
LOST_PATIENCE = 3.0
"""Seconds for which a job whose processes are all gone may still be explained by somebody."""

Request = telemetry_pb2.StreamRequest
Outcome = telemetry_pb2.JobEnd.Outcome

_log = logging.getLogger("steersman.agent")


class Line(Protocol):
    """The roster's side of the link."""

    daemon: str
    up: bool
    last_error: str
    turned_away: str

    def wake(self) -> None:
        """There is something that should not wait for the next interval."""


class Roster:
    """Knows every attempt; its cargo side is what the link carries.

    Args:
        folder: of all spools for this daemon address.
        host: this host's name.
        user: this user's name.
        clock: wall clock.
        spool: makes the spool of a folder.
    """

    def __init__(
        self,
        folder: Path,
        host: str,
        user: str,
        clock: Callable[[], float],
        spool: Callable[[Path], Spool] = Spool,
    ) -> None:
        self.attempts: dict[str, Attempt] = {}
        self.clients: list[Client] = []
        self.stop_asked = False
        self._deliveries: dict[str, Delivery] = {}
        self._folder = folder
        self.host = host
        self.user = user
        self._clock = clock
        self._spool = spool
        self._line: Line | None = None

    def recover(self) -> None:
        """Take over what earlier agents could not deliver."""
        if not self._folder.is_dir():
            return
        for folder in sorted(self._folder.iterdir()):
            if not is_uuid(folder.name):
                continue
            try:
                attempt = self.open(folder.name)
            except OSError as error:
                _log.error("spool_unreadable", extra=fields(folder=str(folder), reason=str(error)))
                continue
            rows = attempt.spool.pending_rows()
            if not rows and not attempt.hello.job:
                self._settle(attempt)
                continue
            if not attempt.hello.job:
                attempt.opens({"job": "recovered"}, self.host, self.user, self._clock())
            _log.info("spool_recovered", extra=fields(attempt=folder.name, rows=rows, ended=attempt.end is not None))

    # What others ask

    def attach(self, line: Line) -> None:
        """Tell the roster of its link, which in turn carries the roster."""
        self._line = line
        for attempt in self.attempts.values():
            attempt.papers.daemon = line.daemon

    def wake(self) -> None:
        """There is something that should not wait for the next interval."""
        if self._line is not None:
            self._line.wake()

    def connected_now(self) -> bool:
        """Whether the daemon is at the other end of a stream."""
        return self._line is not None and self._line.up

    def status(self) -> dict[str, Any]:
        """How the jobs stand."""
        return {
            "pid": os.getpid(),
            "daemon": self._line.daemon if self._line else "",
            "connected": self.connected_now(),
            "last_error": self._line.last_error if self._line else "",
            "jobs": [
                {
                    "job": a.job,
                    "attempt_id": a.attempt_id,
                    "ranks": len(a.hello.ranks),
                    "pids": a.pids(),
                    "rows": a.rows_seen,
                    "unsent_rows": a.unsent_rows,
                    "ended": a.end is not None,
                    "refused": self._deliveries[a.attempt_id].refused,
                }
                for a in self.attempts.values()
            ],
            "spool_bytes": sum(a.spool.size() for a in self.attempts.values()),
            "spool_folder": str(self._folder),
        }

    def live(self) -> bool:
        """Whether any job still runs."""
        return any(attempt.end is None for attempt in self.attempts.values())

    def pending(self) -> bool:
        """Whether anything waits for the daemon."""
        return bool(self.attempts)

    # The clock

    def flush(self) -> list[int]:
        """Rows to the spool, papers to their files; the descriptors that have to be brought to disk."""
        found: list[int] = []
        for attempt in self.attempts.values():
            attempt.flush(self._clock())
            attempt.save()
            found += attempt.spool.unsynced()
        return found

    def check(self) -> None:
        """Find jobs that ended without a word, and forget those that are delivered. Once a second will do."""
        now = self._clock()
        for attempt in list(self.attempts.values()):
            if attempt.end is None:
                self._check_alive(attempt, now)
            if self._deliveries[attempt.attempt_id].complete():
                self._settle(attempt)

    def close(self) -> None:
        """Put everything on disk; what is not delivered stays there for the next agent."""
        for attempt in self.attempts.values():
            attempt.flush(self._clock())
            attempt.save()
            attempt.spool.close()

    # Cargo of the link

    def connected(self) -> None:
        """A new stream: everything that is not durable has to be sent again."""
        self._deliveries = {key: Delivery(attempt) for key, attempt in self.attempts.items()}

    def words(self, now: float) -> list[Request]:
        """Hellos, word on adjustments, events and ends that are waiting."""
        found: list[Request] = []
        for delivery in self._deliveries.values():
            hello = delivery.hello()
            if hello is not None:
                found.append(hello)
            found += delivery.words(now)
        return found

    def batches(self, max_bytes: int) -> tuple[list[telemetry_pb2.Batch], int]:
        """The next rows of all attempts, about so many bytes at most."""
        found: list[telemetry_pb2.Batch] = []
        used = 0
        for delivery in self._deliveries.values():
            if used >= max_bytes:
                break
            more, size = delivery.batches(max_bytes - used)
            found += more
            used += size
        return found, used

    def answer(self, response: telemetry_pb2.StreamResponse) -> None:
        """What the daemon said."""
        kind = response.WhichOneof("message")
        if kind == "job_welcome":
            self._job_welcome(response.job_welcome)
        elif kind == "batch_ack":
            attempt = self.attempts.get(response.batch_ack.attempt_id)
            if attempt is not None:
                attempt.spool.ack(response.batch_ack.rank, response.batch_ack.durable_seq)
        elif kind == "job_end_ack":
            ended = self._deliveries.get(response.job_end_ack.attempt_id)
            if ended is not None and ended.end_sent:
                ended.end_kept = True
        elif kind == "refusal":
            delivery = self._deliveries.get(response.refusal.attempt_id)
            if delivery is not None:
                delivery.refused = response.refusal.message or "refused"
        elif kind == "adjustment":
            self._adjust(response.adjustment)
        elif kind == "inquiry":
            self._inquire(response.inquiry)

    # Inside

    def open(self, attempt_id: str) -> Attempt:
        """An attempt that was not known yet.

        Raises:
            PacketError: there are too many already.
            OSError: its folder cannot be read.
        """
        if len(self.attempts) >= MAX_ATTEMPTS:
            raise packet.PacketError(f"this agent already serves {MAX_ATTEMPTS} attempts")
        folder = self._folder / attempt_id
        attempt = Attempt(attempt_id, folder, self._spool(folder))
        attempt.load()
        if self._line is not None:
            attempt.papers.daemon = self._line.daemon
        self.attempts[attempt_id] = attempt
        self._deliveries[attempt_id] = Delivery(attempt)
        return attempt

    def _settle(self, attempt: Attempt) -> None:
        attempt.forget()
        self.attempts.pop(attempt.attempt_id, None)
        self._deliveries.pop(attempt.attempt_id, None)
        _log.info("job_delivered", extra=fields(attempt=attempt.attempt_id, job=attempt.job))

    def family(self, attempt: Attempt) -> list[Attempt]:
        """An attempt and those that run under its launcher."""
        return [attempt, *(a for a in self.attempts.values() if a.papers.parent == attempt.attempt_id)]

    def job_reply(self, attempt: Attempt) -> dict[str, Any]:
        """How much of a job is delivered."""
        family = self.family(attempt)
        unsent = sum(one.unsent_rows for one in family)
        deliveries = [self._deliveries[one.attempt_id] for one in family]
        return {
            "durable": not unsent and all(d.complete() for d in deliveries),
            "unsent_rows": unsent,
            "samples_seen": sum(one.rows_seen for one in family),
            "ranks": len(attempt.papers.processes),
            "left": len(attempt.papers.left),
            "ended": attempt.end is not None,
            "connected": self.connected_now(),
            "job": attempt.job,
            "granted": bool(attempt.papers.granted),
            "refused": next((d.refused for d in deliveries if d.refused), ""),
            "turned_away": self._line.turned_away if self._line else "",
            "spool": str(attempt.folder),
            "unwritten": next((a.spool.unwritten for a in family if a.spool.unwritten), ""),
        }

    def _job_welcome(self, welcome: telemetry_pb2.JobWelcome) -> None:
        attempt = self.attempts.get(welcome.attempt_id)
        if attempt is None:
            return
        self._deliveries[welcome.attempt_id].welcome({r.rank: r.durable_seq for r in welcome.durable})
        if welcome.job and welcome.job != attempt.papers.granted:
            attempt.papers.granted = welcome.job
            attempt.touch()
            for client in self.clients:
                if client.attempt_id == attempt.attempt_id:
                    client.send(packet.WELCOME, attempt_id=attempt.attempt_id, job=welcome.job, shared=True)

    def _adjust(self, command: telemetry_pb2.AdjustmentCommand) -> None:
        attempt = self.attempts.get(command.attempt_id)
        order = orders.from_command(command)
        if attempt is None:
            return
        if attempt.keeper.repeats(order):
            for ack in attempt.acks():
                if ack.adjustment_id == order.adjustment_id:
                    self._deliveries[attempt.attempt_id].acknowledge(ack)
            self.wake()
            return
        attempt.flush(self._clock())
        probes = [c for c in self.clients if c.attempt_id == attempt.attempt_id and c.rank >= 0]
        objection = attempt.keeper.objection(order, self._clock()) or orders.hindrance(attempt, probes)
        if objection:
            _log.warning("order_refused", extra=fields(attempt=attempt.attempt_id, by=command.by, reason=objection))
            self.take_ack(attempt, orders.refusal(order, objection, self._clock()))
            return
        attempt.keeper.permit(order)
        attempt.touch()
        attempt.save()  # before it is done: an agent that dies now must not permit it again
        _log.info(
            "order_permitted", extra=fields(attempt=attempt.attempt_id, adjustment=order.adjustment_id, by=command.by)
        )
        for client in probes:
            client.send(packet.COMMAND, **orders.for_probe(order))

    def _inquire(self, inquiry: telemetry_pb2.Inquiry) -> None:
        attempt = self.attempts.get(inquiry.attempt_id)
        if attempt is None or str(inquiry.rank) not in attempt.papers.processes:
            return  # another agent's rank
        probes = [c for c in self.clients if c.attempt_id == attempt.attempt_id and c.rank == inquiry.rank]
        for client in probes:
            client.send(packet.ASK, id=inquiry.inquiry_id)
        if not probes:
            words = f"the probe of rank {inquiry.rank} is not connected to its agent on {self.host}"
            self.tell(
                telemetry_pb2.Provenance(
                    inquiry_id=inquiry.inquiry_id,
                    attempt_id=attempt.attempt_id,
                    rank=inquiry.rank,
                    step=-1,
                    problem=words,
                )
            )

    def tell(self, answer: telemetry_pb2.Provenance) -> None:
        """An answer for whoever asked the daemon."""
        self._deliveries[answer.attempt_id].tell(answer)
        self.wake()

    def take_ack(self, attempt: Attempt, ack: telemetry_pb2.AdjustmentAck) -> None:
        """Word on an adjustment, for the daemon."""
        attempt.take_ack(ack)
        self._deliveries[attempt.attempt_id].acknowledge(ack)
        self.wake()

    def detach(self, name: str, pid: int) -> list[Attempt]:
        """Tell the probes of one job to leave it; the attempts that this concerns, which is none where nobody knows it.

        Args:
            name: the job's name, or an attempt's UUID; not looked at where a process is given.
            pid: one of its processes, or 0.
        """
        running = [a for a in self.attempts.values() if a.end is None]
        if pid:
            found = [a for a in running if pid in a.pids().values()]
        else:
            found = [a for a in running if name in (a.job, a.attempt_id)]
        for attempt in found:
            attempt.leaving = True  # a probe whose agent has just come back may not be connected yet
            _log.info("detach_asked", extra=fields(attempt=attempt.attempt_id, job=attempt.job))
            for client in self.clients:
                if client.attempt_id == attempt.attempt_id and client.rank >= 0:
                    client.send(packet.DETACH)
        return found

    def has_launcher(self, attempt: Attempt) -> bool:
        """Whether somebody will say how it ended: its launcher, there or about to come back."""
        parent = self.attempts.get(attempt.papers.parent, attempt)
        return processes.alive(parent.papers.launcher)

    def _check_alive(self, attempt: Attempt, now: float) -> None:
        papers = attempt.papers
        ranks = [mark for rank, mark in papers.processes.items() if rank not in papers.left]
        connected = any(c.attempt_id == attempt.attempt_id for c in self.clients)
        if connected or self.has_launcher(attempt) or any(map(processes.alive, [*ranks, papers.command_pid])):
            attempt.alone_since = None
            return
        attempt.alone_since = now if attempt.alone_since is None else attempt.alone_since
        if now - attempt.alone_since < LOST_PATIENCE:
            return
        if papers.left and not ranks and not papers.launcher:
            self.end_by_goodbye(attempt, "")
            return
        words = "its process is gone, and nobody saw how it ended"
        attempt.ends(
            telemetry_pb2.JobEnd(
                attempt_id=attempt.attempt_id, outcome=Outcome.OUTCOME_LOST, exit_code=-1, time=now, message=words
            ),
            now,
        )
        self.wake()

    def end_by_goodbye(self, attempt: Attempt, message: str) -> None:
        """The job is over, and its ranks have said how."""
        words = set(attempt.papers.left.values())
        outcome = Outcome.OUTCOME_FINISHED
        if "failed" in words:
            outcome = Outcome.OUTCOME_FAILED
        elif "detached" in words:
            outcome = Outcome.OUTCOME_DETACHED
        now = self._clock()
        end = telemetry_pb2.JobEnd(
            attempt_id=attempt.attempt_id,
            outcome=outcome,
            exit_code=int(outcome == Outcome.OUTCOME_FAILED),
            time=now,
            message=message[:512],
        )
        attempt.ends(end, now)
        self.wake()


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID as we write them, and so fit to name a folder."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
