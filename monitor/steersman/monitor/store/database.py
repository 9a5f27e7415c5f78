"""A database as the store uses it: one connection that writes, others that read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from steersman.monitor.errors import StoreError
from steersman.monitor.store.migrate import upgrade


class Database(ABC):
    """What SQLite and PostgreSQL have in common.

    Attributes:
        place: what to call it in an error; never with a password.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._writer: sa.Connection | None = None
        self._write_engine: sa.Engine | None = None
        self._read_engine: sa.Engine | None = None

    def open(self) -> None:
        """Claim it for this process and bring its tables up to date.

        Raises:
            StoreInUseError: another daemon holds it.
            StoreError: it cannot be used, and why.
        """
        try:
            self.claim()
            self._write_engine = self.write_engine()
            self._read_engine = self.read_engine()
            with self.writing() as connection:
                upgrade(connection, self.place)
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def claim(self) -> None:
        """Make sure that no other daemon writes here, as far as that can be told before connecting."""

    @abstractmethod
    def write_engine(self) -> sa.Engine:
        """The engine of the one connection that writes."""

    @abstractmethod
    def read_engine(self) -> sa.Engine:
        """The engine of the connections that read."""

    @abstractmethod
    def words(self, error: SQLAlchemyError) -> str:
        """What went wrong, to what, and what to do next."""

    def claim_connection(self, connection: sa.Connection) -> None:
        """Make sure that no other daemon writes here, where that takes a connection; here it takes none."""
        del connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """The writing connection in a transaction, which is committed at the end.

        After a failure the connection is thrown away and the next use makes a new one: what an fsync that failed once
        would say the second time means nothing.
        """
        try:
            connection = self._connected()
            with connection.begin():
                yield connection
        except SQLAlchemyError as error:
            self._hang_up()
            raise StoreError(self.words(error)) from error

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that sees one state of everything, and cannot write."""
        if self._read_engine is None:
            raise StoreError(f"{self.place} is closed: open it again")
        try:
            with self._read_engine.connect() as connection, connection.begin():
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(self.words(error)) from error

    def close(self) -> None:
        """Give everything back; twice is allowed."""
        # Readers first: whoever closes an SQLite file last moves its log into it, and only the writer may.
        if self._read_engine is not None:
            self._read_engine.dispose()
        self._hang_up()
        if self._write_engine is not None:
            self._write_engine.dispose()
        self._read_engine = self._write_engine = None

    def _connected(self) -> sa.Connection:
        if self._write_engine is None:
            raise StoreError(f"{self.place} is closed: open it again")
        if self._writer is None:
            connection = self._write_engine.connect()
            try:
                self.claim_connection(connection)
            except BaseException:
                connection.close()
                raise
            self._writer = connection
        return self._writer

    def _hang_up(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.invalidate()
            writer.close()
