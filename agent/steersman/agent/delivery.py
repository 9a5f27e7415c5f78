"""How much of one attempt has gone over the present stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from steersman.agent.attempt import Attempt
from steersman.agent.columns import MAX_ROWS, merge, mergeable
from steersman.v1 import telemetry_pb2

Request = telemetry_pb2.StreamRequest


class Delivery:
    """What has been sent of an attempt since the stream began; thrown away with it.

    Args:
        attempt: the attempt to deliver.
    """

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.welcomed = False
        self.refused = ""
        self.end_kept = False
        self._hello_version = -1
        self._sent: dict[int, int] = {}
        self._events: dict[int, int] = {}
        self._acks: deque[telemetry_pb2.AdjustmentAck] = deque(maxlen=256)
        self._answers: deque[telemetry_pb2.Provenance] = deque(maxlen=64)
        self._end_sent: float | None = None

    @property
    def end_sent(self) -> bool:
        """Whether the end has gone out on this stream."""
        return self._end_sent is not None

    def welcome(self, durable: Mapping[int, int]) -> None:
        """The daemon has opened the job, and has this much of it on disk: go on from there."""
        for rank, seq in durable.items():
            self.attempt.spool.ack(rank, seq)
        if self.welcomed:
            return  # the answer to a hello that said more: what is under way stays under way
        self.welcomed = True
        self._sent = dict(durable)
        self._events = {}
        self._end_sent = None
        self._acks = deque(self.attempt.acks(), maxlen=256)

    def acknowledge(self, ack: telemetry_pb2.AdjustmentAck) -> None:
        """Queue word on an adjustment."""
        self._acks.append(ack)

    def tell(self, answer: telemetry_pb2.Provenance) -> None:
        """Queue an answer; it is for who waits now, and lost with the stream."""
        self._answers.append(answer)

    def hello(self) -> Request | None:
        """The hello, where the daemon has not heard it or there is more to say."""
        if self.refused or self._hello_version == self.attempt.hello_version:
            return None
        self._hello_version = self.attempt.hello_version
        return Request(job_hello=self.attempt.hello)

    def words(self, now: float) -> list[Request]:
        """Everything but rows that is waiting: word on adjustments, events, and, after all rows, the end."""
        if not self.welcomed or self.refused:
            return []
        found = [Request(adjustment_ack=ack) for ack in self._acks]
        self._acks.clear()
        found += [Request(provenance=answer) for answer in self._answers]
        self._answers.clear()
        for event in self.attempt.events:
            if event.event_seq > self._events.get(event.rank, 0):
                self._events[event.rank] = event.event_seq
                found.append(Request(event=event))
        if self.attempt.end is not None and self._end_sent is None and not self._behind():
            self._end_sent = now
            found.append(Request(job_end=self.attempt.end))
        return found

    def batches(self, max_bytes: int) -> tuple[list[telemetry_pb2.Batch], int]:
        """The next rows of all ranks up to so many bytes, and how many bytes they are."""
        found: list[telemetry_pb2.Batch] = []
        used = 0
        if not self.welcomed or self.refused:
            return found, used
        for rank in self.attempt.spool.ranks():
            run: list[telemetry_pb2.Batch] = []
            for entry in self.attempt.spool.entries(rank, self._sent.get(rank, 0)):
                if used and used + entry.size > max_bytes:
                    break
                payload = self.attempt.spool.read(entry)
                if payload is None:
                    continue  # unreadable: the next batch says that they are lost
                batch = telemetry_pb2.Batch.FromString(payload)
                expected = self._sent.get(rank, 0) + 1
                if run and not (mergeable(run[-1], batch) and sum(b.rows for b in run) + batch.rows <= MAX_ROWS * 4):
                    found.append(_joined(run))
                    run = []
                batch.skipped = max(0, batch.first_seq - expected)
                run.append(batch)
                self._sent[rank] = entry.last_seq
                used += entry.size
            if run:
                found.append(_joined(run))
        return found, used

    def complete(self) -> bool:
        """Whether the daemon has rows, events and end on disk. The end's acknowledgement may overtake that of rows."""
        return self.end_kept and not self.attempt.unsent_rows

    def _behind(self) -> bool:
        spool = self.attempt.spool
        return any(True for rank in spool.ranks() for _ in spool.entries(rank, self._sent.get(rank, 0)))


def _joined(run: list[telemetry_pb2.Batch]) -> telemetry_pb2.Batch:
    joined = merge(run)
    joined.skipped = run[0].skipped
    return joined
