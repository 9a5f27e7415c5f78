"""The store in a database."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from steersman.monitor.errors import StoreError
from steersman.monitor.store import reader
from steersman.monitor.store.contract import (
    Damage,
    EventRecord,
    JobRecord,
    LedgerRecord,
    Restored,
    SeriesInfo,
    Unit,
)
from steersman.monitor.store.database import Database
from steersman.monitor.store.writer import Writer
from steersman.rules.samples import Samples


class SqlStore:
    """Chunks of about a thousand samples a series, and before that a journal with one entry a unit and attempt.

    Args:
        database: where; `open` it before the first use. It is closed with the store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = Writer()
        self._lock = threading.Lock()

    def write(self, unit: Unit) -> None:
        """See `Store.write`."""
        with self._lock:
            try:
                with self._database.writing() as connection:
                    self._writer.write(connection, unit)
            except BaseException:
                # The tables are as before, what the writer remembers of them may not be.
                self._writer.forget()
                raise

    def jobs(self, *, ended: bool) -> list[JobRecord]:
        """See `Store.jobs`."""
        with self._database.reading() as connection:
            return reader.jobs(connection, ended)

    def find(self, name: str, attempt: int = 0) -> JobRecord | None:
        """See `Store.find`."""
        with self._database.reading() as connection:
            return reader.find(connection, name, attempt)

    def restore(self, attempt_id: str) -> Restored | None:
        """See `Store.restore`."""
        with self._database.reading() as connection:
            return reader.restore(connection, attempt_id)

    def list_series(self, attempt_id: str) -> list[SeriesInfo]:
        """See `Store.list_series`."""
        with self._database.reading() as connection:
            return reader.list_series(connection, attempt_id)

    def series(
        self, attempt_id: str, name: str, *, ranks: Sequence[int] = (), from_step: int = 0, to_step: int | None = None
    ) -> Mapping[int, Samples]:
        """See `Store.series`."""
        with self._database.reading() as connection:
            return reader.series(connection, attempt_id, name, ranks, from_step, to_step)

    def events(self, attempt_id: str, limit: int = 100) -> list[EventRecord]:
        """See `Store.events`."""
        with self._database.reading() as connection:
            return reader.events(connection, attempt_id, limit)

    def ledger(self, job: str, attempt_id: str | None = None) -> list[LedgerRecord]:
        """See `Store.ledger`."""
        with self._database.reading() as connection:
            return reader.ledger(connection, job, attempt_id)

    def adjustments(self, job: str) -> Mapping[str, str]:
        """See `Store.adjustments`."""
        with self._database.reading() as connection:
            return reader.adjustments(connection, job)

    def damage(self, attempt_id: str) -> list[Damage]:
        """See `Store.damage`."""
        with self._database.reading() as connection:
            return reader.damage(connection, attempt_id)

    def check(self, attempt_id: str) -> None:
        """See `Store.check`."""
        found = self.damage(attempt_id)
        if found:
            more = f", and {len(found) - 1} more" if len(found) > 1 else ""
            raise StoreError(
                f"{self._database.place} is damaged: {found[0]}{more}; the rest can be read: save it and look "
                f"at the disk"
            )

    def close(self) -> None:
        """See `Store.close`."""
        with self._lock:
            self._database.close()
