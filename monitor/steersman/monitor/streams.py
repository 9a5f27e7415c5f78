"""The open streams of the agents, and what waits to be sent on each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping

from steersman.monitor import translate
from steersman.monitor.adjustment import Command
from steersman.monitor.inquiries import Inquiry
from steersman.v1 import telemetry_pb2 as pb


class Outbox:
    """What waits for one agent. Acknowledgements only ever grow, so of each (attempt, rank) the last one is kept."""

    def __init__(self) -> None:
        self._messages: deque[pb.StreamResponse] = deque()
        self._marks: dict[tuple[str, int], list[int]] = {}
        self._fresh: set[tuple[str, int]] = set()
        self._wake = asyncio.Event()
        self._closed = False

    def put(self, message: pb.StreamResponse) -> None:
        """Send a message after those that wait."""
        self._messages.append(message)
        self._wake.set()

    def mark(self, attempt_id: str, rank: int, *, received: int = 0, durable: int = 0) -> None:
        """Acknowledge rows; 0 leaves that mark as it is."""
        key = (attempt_id, rank)
        marks = self._marks.setdefault(key, [0, 0])
        marks[0] = max(marks[0], received, durable)
        marks[1] = max(marks[1], durable)
        self._fresh.add(key)
        self._wake.set()

    def knows(self, attempt_id: str, rank: int) -> bool:
        """Whether rows of this rank came this way."""
        return (attempt_id, rank) in self._marks

    def close(self) -> None:
        """Nothing more will come: end the stream after what waits."""
        self._closed = True
        self._wake.set()

    async def messages(self) -> AsyncIterator[pb.StreamResponse]:
        """Everything in order, until `close`."""
        while True:
            while self._messages:
                yield self._messages.popleft()
            fresh, self._fresh = self._fresh, set()
            for attempt_id, rank in fresh:
                received, durable = self._marks[attempt_id, rank]
                yield pb.StreamResponse(
                    batch_ack=pb.BatchAck(attempt_id=attempt_id, rank=rank, received_seq=received, durable_seq=durable)
                )
            if self._messages or self._fresh:
                continue
            if self._closed:
                return
            self._wake.clear()
            await self._wake.wait()


class Streams:
    """All open streams; told by the cycle after each commit."""

    def __init__(self) -> None:
        self._open: dict[Outbox, set[str]] = {}
        self._attempts: frozenset[str] = frozenset()

    def add(self, outbox: Outbox) -> None:
        """A stream has opened."""
        self._open[outbox] = set()

    def remove(self, outbox: Outbox) -> None:
        """A stream has ended."""
        self._open.pop(outbox, None)
        self._refresh()

    def carries(self, outbox: Outbox, attempt_id: str) -> None:
        """A stream has opened a job."""
        if outbox in self._open:
            self._open[outbox].add(attempt_id)
            self._refresh()

    def connected(self, attempt_id: str) -> bool:
        """Whether some stream carries this attempt; asked from the writer's thread, so it reads one frozen set."""
        return attempt_id in self._attempts

    def durable(self, attempt_id: str, high_water: Mapping[int, int]) -> None:
        """Rows are on disk."""
        for outbox, attempts in self._open.items():
            if attempt_id in attempts:
                for rank, seq in high_water.items():
                    if outbox.knows(attempt_id, rank):
                        outbox.mark(attempt_id, rank, durable=seq)

    def command(self, command: Command) -> None:
        """A command goes to every agent that has ranks of the attempt."""
        for outbox, attempts in self._open.items():
            if command.attempt_id in attempts:
                outbox.put(translate.command(command))

    def inquire(self, inquiry: Inquiry) -> bool:
        """A question goes to every agent that has ranks of the attempt; whether there is one."""
        asked = [outbox for outbox, attempts in self._open.items() if inquiry.attempt_id in attempts]
        for outbox in asked:
            outbox.put(translate.inquiry(inquiry))
        return bool(asked)

    def say(self, refusal: pb.Refusal) -> None:
        """Tell every agent, and end its stream."""
        for outbox in self._open:
            outbox.put(pb.StreamResponse(refusal=refusal))
            outbox.close()

    def _refresh(self) -> None:
        self._attempts = frozenset(a for attempts in self._open.values() for a in attempts)
