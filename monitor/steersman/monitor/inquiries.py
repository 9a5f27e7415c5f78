"""Questions to a running job where the numbers of its next sample come from, while somebody waits for the answer."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from steersman.monitor.errors import LimitError, RefusedError

MOST_OPEN = 64
"""Questions that may wait at the same time."""

LONGEST_S = 600.0
"""How long a question may wait."""


@dataclass(frozen=True)
class Source:
    """Where one number came from; the value is None where the sample has none."""

    series: str
    value: float | None
    words: str


@dataclass(frozen=True)
class Provenance:
    """The answer: the step it is about with a source a number, or a problem in words."""

    step: int
    sources: tuple[Source, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Inquiry:
    """One question."""

    inquiry_id: str
    attempt_id: str
    rank: int


class Inquiries:
    """The open questions. Nothing of them is stored: an answer that nobody waits for any more is dropped.

    Args:
        send: gives a question to the agents that carry its attempt; whether there is one.
    """

    def __init__(self, send: Callable[[Inquiry], bool]) -> None:
        self._send = send
        self._open: dict[str, asyncio.Future[Provenance]] = {}

    async def ask(self, attempt_id: str, rank: int, patience_s: float) -> Provenance:
        """Ask one rank, and wait for its next sample.

        Raises:
            LimitError: too many wait already.
            RefusedError: no agent of the job is connected.
        """
        if len(self._open) >= MOST_OPEN:
            raise LimitError(f"{MOST_OPEN} questions of this kind wait for their answers already; try again later")
        inquiry = Inquiry(str(uuid.uuid4()), attempt_id, rank)
        future: asyncio.Future[Provenance] = asyncio.get_running_loop().create_future()
        self._open[inquiry.inquiry_id] = future
        try:
            if not self._send(inquiry):
                raise RefusedError("no agent of this job is connected: nobody can be asked at present")
            async with asyncio.timeout(min(patience_s, LONGEST_S)):
                return await future
        except TimeoutError:
            words = (
                f"rank {rank} has finished no step that could be told of within {min(patience_s, LONGEST_S):g} s: it "
                "may be slow, or stand still, or its probe may be older than this question"
            )
            return Provenance(-1, problem=words)
        finally:
            del self._open[inquiry.inquiry_id]

    def answered(self, inquiry_id: str, answer: Provenance) -> None:
        """An agent has brought an answer."""
        future = self._open.get(inquiry_id)
        if future is not None and not future.done():
            future.set_result(answer)
