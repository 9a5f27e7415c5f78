"""The latest view of every job in memory, and those who wait for the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from steersman.monitor.view import JobView


class Board:
    """Lives on the event loop. A slow reader finds fewer, newer views: nothing is queued for anybody."""

    def __init__(self) -> None:
        self._views: dict[str, JobView] = {}
        self._versions: dict[str, int] = {}
        self._version = 0
        self._changed = asyncio.Event()

    @property
    def version(self) -> int:
        """Grows with every publication."""
        return self._version

    def publish(self, views: Iterable[JobView], gone: Iterable[str] = ()) -> None:
        """New views by attempt, and attempts that have left the memory."""
        for seen in views:
            if self._views.get(seen.facts.attempt_id) != seen:
                self._version += 1
                self._views[seen.facts.attempt_id] = seen
                self._versions[seen.facts.attempt_id] = self._version
        for attempt_id in gone:
            self._views.pop(attempt_id, None)
            self._versions.pop(attempt_id, None)
        self._changed.set()
        self._changed = asyncio.Event()

    def all(self) -> list[JobView]:
        """Every job in memory, newest first."""
        # The page of metrics is made in another thread: the copy is one step of the interpreter, the sorting is not.
        return sorted(list(self._views.values()), key=lambda v: (v.facts.started_at, v.attempt), reverse=True)

    def find(self, name: str, attempt: int = 0) -> JobView | None:
        """A job by name; its newest attempt for 0."""
        found = [v for v in self._views.values() if v.name == name and attempt in (0, v.attempt)]
        return max(found, key=lambda v: v.attempt, default=None)

    def since(self, version: int) -> list[JobView]:
        """Views published after a version."""
        return [self._views[a] for a, v in self._versions.items() if v > version]

    async def wait(self) -> None:
        """Return after the next publication."""
        await self._changed.wait()
