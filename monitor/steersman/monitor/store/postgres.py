"""The store on a PostgreSQL server."""

from __future__ import annotations

import importlib.util
import os
import socket
import time

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from steersman.monitor.errors import StoreError, StoreInUseError
from steersman.monitor.store.database import Database

_LOCK = 0x5374656572736D61
"""Key of the advisory lock; the ASCII codes of "Steersma"."""

_PATIENCE = 3.0
"""Seconds a daemon waits for the lock: a server takes a moment to notice that the one before was killed."""


class PostgresDatabase(Database):
    """A database on a server, claimed by a session's advisory lock: one daemon writes to it at a time.

    Args:
        url: as the user wrote it.
        shown: the same without credentials.
    """

    def __init__(self, url: sa.URL, shown: str) -> None:
        super().__init__(f"store {shown}")
        self._url = url.set(drivername="postgresql+psycopg")

    def claim(self) -> None:
        """Nothing can be claimed before there is a connection; only the driver is looked for."""
        if importlib.util.find_spec("psycopg") is None:
            raise StoreError(f"{self.place} needs psycopg, which is not installed: pip install 'steersman[postgres]'")

    def claim_connection(self, connection: sa.Connection) -> None:
        """Take the advisory lock, which lasts as long as this connection."""
        deadline = time.monotonic() + _PATIENCE
        with connection.begin():
            connection.exec_driver_sql("SET synchronous_commit = on")
            # A server that never hears that this host died would hold the lock for hours.
            connection.exec_driver_sql("SET tcp_keepalives_idle = 10")
            connection.exec_driver_sql("SET tcp_keepalives_interval = 3")
            connection.exec_driver_sql("SET tcp_keepalives_count = 3")
        while True:
            with connection.begin():
                if connection.execute(sa.select(sa.func.pg_try_advisory_lock(_LOCK))).scalar():
                    return
                holder = self._holder(connection)
            if time.monotonic() > deadline:
                raise StoreInUseError(
                    f"{self.place} is in use by {holder}: stop that one, or name another database with --store"
                )
            time.sleep(0.1)

    def write_engine(self) -> sa.Engine:
        """One connection, never pooled."""
        return self._engine(poolclass=sa.NullPool)

    def read_engine(self) -> sa.Engine:
        """A few connections that cannot write and see one state each time."""
        engine = self._engine(pool_size=4, max_overflow=12, pool_pre_ping=True)
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def words(self, error: SQLAlchemyError) -> str:
        """What the server or its library said, and what that asks for."""
        cause = getattr(error, "orig", None) or error
        said = " ".join(str(cause).split())
        if "password" in said or "authentication" in said:
            return f"{self.place} refused us ({said}): check user and password in the URL, or ~/.pgpass"
        if "does not exist" in said and "database" in said:
            return f"{self.place} is not there ({said}): create it with createdb"
        if isinstance(error, OperationalError):
            return f"{self.place} cannot be reached or used ({said}): check that the server runs and the URL is right"
        return f"{self.place} failed: {said}"

    def _engine(self, **settings: object) -> sa.Engine:
        wait = {} if "connect_timeout" in self._url.query else {"connect_timeout": 10}
        name = f"steersman daemon {os.getpid()} on {socket.gethostname()}"
        return sa.create_engine(
            self._url, hide_parameters=True, connect_args={"application_name": name[:63], **wait}, **settings
        )

    def _holder(self, connection: sa.Connection) -> str:
        found = connection.exec_driver_sql(
            "SELECT a.application_name, a.pid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
            " WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database"
            f" WHERE datname = current_database()) AND (l.classid::bigint << 32 | l.objid::bigint) = {_LOCK}"
        ).first()
        return f"{found[0] or 'another program'} (server process {found[1]})" if found else "another daemon"
