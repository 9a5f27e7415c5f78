"""What the agent makes of the packets of probes, launchers and commands on its socket."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from steersman.agent import processes
from steersman.agent.attempt import MAX_RANKS, Attempt
from steersman.agent.events import fields
from steersman.agent.limits import POLICIES
from steersman.agent.local import Client
from steersman.agent.probe import packet
from steersman.agent.roster import Outcome, Roster, is_uuid
from steersman.v1 import telemetry_pb2, types_pb2

MAX_BAD_PACKETS = 16
MAX_SOURCES = 64
MAX_ASKING = 16

_log = logging.getLogger("steersman.agent")


class Reception:
    """Takes the packets of local clients.

    Args:
        roster: the attempts they speak of.
        clock: wall clock.
    """

    def __init__(self, roster: Roster, clock: Callable[[], float]) -> None:
        self._roster = roster
        self._clock = clock

    def received(self, client: Client, data: bytes) -> None:
        """One packet of a probe, a launcher or a command."""
        try:
            kind = packet.kind_of(data)
            if kind == packet.ROW:
                self._attempt_of(client).buffer(client.rank).add(packet.unpack_row(data))
                return
            handler = self._handlers().get(kind)
            if handler is None:
                raise packet.PacketError(f"packets of kind {kind} are not for the agent")
            handler(client, packet.unpack_json(data))
        except (packet.PacketError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            # Whatever a broken client sends must not reach the other jobs of this host.
            client.bad_packets += 1
            if client.bad_packets in (1, MAX_BAD_PACKETS):
                _log.warning("bad_packet", extra=fields(process=client.process, reason=str(error)))
            if client.bad_packets == 1:
                client.send(packet.REFUSED, message=f"the agent did not understand a packet: {error}")

    def left(self, client: Client) -> None:
        """A connection has ended."""
        attempt = self._roster.attempts.get(client.attempt_id)
        if client in self._roster.clients:
            self._roster.clients.remove(client)
        if attempt is not None and client.rank >= 0:
            attempt.flush(self._clock())

    def _handlers(self) -> dict[int, Callable[[Client, dict[str, Any]], None]]:
        return {
            packet.HELLO: self._hello,
            packet.SCHEMA: lambda client, message: self._attempt_of(client).buffer(client.rank).declare(message),
            packet.EVENT: self._event,
            packet.ACK: self._ack,
            packet.ANSWER: self._answer,
            packet.BYE: self._bye,
            packet.LAUNCH: self._launch,
            packet.EXIT: self._exit,
            packet.QUERY: self._query,
        }

    def _attempt_of(self, client: Client) -> Attempt:
        if client.rank < 0 or client.attempt_id not in self._roster.attempts:
            raise packet.PacketError("rows and words of a job come after its HELLO")
        return self._roster.attempts[client.attempt_id]

    def _hello(self, client: Client, message: dict[str, Any]) -> None:
        asked, rank = _checked_id(message), int(message.get("rank") or 0)
        _check_policy(message)
        if not 0 <= rank < MAX_RANKS:
            raise packet.PacketError(f"rank {rank} is not between 0 and {MAX_RANKS - 1}")
        attempt = self._claim(asked, rank, client)
        client.attempt_id, client.rank = attempt.attempt_id, rank
        attempt.opens(message, self._roster.host, self._roster.user, self._clock())
        attempt.joins(rank, message, client.process)
        if client not in self._roster.clients:
            self._roster.clients.append(client)
        _log.info("probe_joined", extra=fields(attempt=attempt.attempt_id, job=attempt.job, rank=rank))
        client.send(packet.WELCOME, attempt_id=attempt.attempt_id, job=attempt.job, shared=True)
        if attempt.leaving:
            client.send(packet.DETACH)
        self._roster.wake()

    def _claim(self, asked: str, rank: int, client: Client) -> Attempt:
        """The attempt that this process is a rank of: its own where another process already is that rank.

        Two sequences of rows under one number would be taken for one by the daemon. A worker that loads data for the
        job that was launched, and trains something besides, leaves its name to the one that it works for.
        """
        known = self._roster.attempts.get(asked)
        if known is None:
            return self._roster.open(asked)
        holder = known.papers.processes.get(str(rank), "")
        free = not holder and not (known.papers.launcher and processes.loads_data(client.process))
        if known.end is None and (free or holder == client.process):
            return known
        derived = str(uuid.uuid5(uuid.UUID(asked), client.process))
        attempt = self._roster.attempts.get(derived) or self._roster.open(derived)
        attempt.papers.parent = asked if known.end is None else ""
        _log.info("attempt_derived", extra=fields(attempt=derived, parent=asked, rank=rank, holder=holder))
        return attempt

    def _event(self, client: Client, message: dict[str, Any]) -> None:
        attempt = self._attempt_of(client)
        attempt.note(
            client.rank,
            float(message.get("time") or self._clock()),
            str(message.get("kind") or "event"),
            str(message.get("message") or ""),
            int(message.get("step", -1)),
            int(message.get("count") or 0),
        )

    def _ack(self, client: Client, message: dict[str, Any]) -> None:
        attempt = self._attempt_of(client)
        ack = telemetry_pb2.AdjustmentAck(
            adjustment_id=str(message["adjustment_id"]),
            attempt_id=attempt.attempt_id,
            rank=client.rank,
            state=telemetry_pb2.AdjustmentAck.State.Value(f"STATE_{str(message['state']).upper()}"),
            step=int(message.get("step", -1)),
            lr=[float(x) for x in message.get("lr") or ()],
            own_lr=[float(x) for x in message.get("own_lr") or ()],
            message=str(message.get("message") or "")[:512],
            time=float(message.get("time") or self._clock()),
        )
        self._roster.take_ack(attempt, ack)

    def _answer(self, client: Client, message: dict[str, Any]) -> None:
        attempt = self._attempt_of(client)
        sources = [
            types_pb2.Source(
                series=str(series)[:64], value=None if value is None else float(value), words=str(words)[:512]
            )
            for series, value, words in list(message["sources"])[:MAX_SOURCES]
        ]
        for identity in list(message["ids"])[:MAX_ASKING]:
            self._roster.tell(
                telemetry_pb2.Provenance(
                    inquiry_id=str(identity)[:64],
                    attempt_id=attempt.attempt_id,
                    rank=client.rank,
                    step=int(message["step"]),
                    sources=sources,
                )
            )

    def _bye(self, client: Client, message: dict[str, Any]) -> None:
        attempt = self._attempt_of(client)
        client.said_goodbye = True
        outcome = str(message.get("outcome") or "finished")
        attempt.papers.left[str(client.rank)] = outcome
        attempt.touch()
        client.rank = -1
        if self._roster.has_launcher(attempt) or any(
            c.attempt_id == attempt.attempt_id and c.rank >= 0 for c in self._roster.clients
        ):
            return
        self._roster.end_by_goodbye(attempt, str(message.get("message") or ""))

    def _launch(self, client: Client, message: dict[str, Any]) -> None:
        asked = _checked_id(message)
        _check_policy(message)
        attempt = self._roster.attempts.get(asked) or self._roster.open(asked)
        client.attempt_id, client.launcher = asked, True
        attempt.papers.launcher = client.process
        attempt.papers.command_pid = processes.mark(int(message.get("pid") or 0))
        attempt.opens({**message, "way_in": "run"}, self._roster.host, self._roster.user, self._clock())
        if client not in self._roster.clients:
            self._roster.clients.append(client)
        _log.info("job_launched", extra=fields(attempt=asked, job=attempt.job, pid=message.get("pid")))
        client.send(packet.WELCOME, attempt_id=asked, job=attempt.job)
        self._roster.wake()

    def _exit(self, client: Client, message: dict[str, Any]) -> None:
        attempt = self._roster.attempts.get(_checked_id(message))
        if attempt is None:
            raise packet.PacketError("the end of an attempt that this agent does not know")
        code, signal = int(message.get("exit_code") or 0), int(message.get("signal") or 0)
        outcome = Outcome.OUTCOME_KILLED if signal else Outcome.OUTCOME_FAILED if code else Outcome.OUTCOME_FINISHED
        family = self._roster.family(attempt)
        for one in family:
            if len(family) > 1 and one.has_left():
                # A script that runs several: its code may be any one's, or its own, and each has said how it ended.
                self._roster.end_by_goodbye(one, _in_words(code, signal) if one is family[-1] else "")
                one.save()
                continue
            end = telemetry_pb2.JobEnd(
                attempt_id=one.attempt_id,
                outcome=outcome,
                exit_code=code,
                signal=signal,
                time=float(message.get("time") or self._clock()),
                message="",
            )
            one.ends(end, self._clock())
            one.save()
        client.send(packet.REPLY, **self._roster.job_reply(attempt))
        self._roster.wake()

    def _query(self, client: Client, message: dict[str, Any]) -> None:
        what = message.get("what")
        if what == "job":
            attempt = self._roster.attempts.get(_checked_id(message))
            # One that is not known any more has been delivered whole.
            reply = self._roster.job_reply(attempt) if attempt else {"durable": True, "unsent_rows": 0, "settled": True}
            client.send(packet.REPLY, **{"connected": self._roster.connected_now(), **reply})
        elif what == "status":
            client.send(packet.REPLY, **self._roster.status())
        elif what == "detach":
            found = self._roster.detach(str(message.get("name") or ""), int(message.get("pid") or 0))
            client.send(packet.REPLY, found=[{"attempt_id": a.attempt_id, "job": a.job} for a in found])
        elif what == "stop":
            self._roster.stop_asked = True
            client.send(packet.REPLY, stopping=True)
        else:
            raise packet.PacketError(f"the agent cannot be asked for {what!r}")


def _checked_id(message: Mapping[str, Any]) -> str:
    text = str(message.get("attempt_id") or "")
    if not is_uuid(text):  # it names a folder
        raise packet.PacketError(f"{text[:64]!r} is no attempt's UUID")
    return text


def _in_words(code: int, signal: int) -> str:
    """How the command of several jobs ended; empty where that says nothing against the last of them."""
    how = f"by signal {signal}" if signal else f"with exit code {code}" if code else ""
    return how and f"the command that started this and other jobs ended {how}"


def _check_policy(message: Mapping[str, Any]) -> None:
    policy = message.get("policy") or "observe"
    if policy not in POLICIES:
        raise packet.PacketError(f"{policy!r} is no policy; policies are {', '.join(POLICIES)}")
