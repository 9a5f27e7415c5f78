"""The store in one file, for one daemon."""

from __future__ import annotations

import fcntl
import os
import shlex
import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.event import listen
from sqlalchemy.exc import SQLAlchemyError

from steersman.monitor.errors import StoreError, StoreInUseError
from steersman.monitor.store.database import Database


class SqliteDatabase(Database):
    """A file with its write-ahead log, and beside it `FILE.lock`, held as long as it is open.

    Exactly one connection writes and checkpoints: SQLite before 3.51.3 can corrupt a file when two connections
    checkpoint at once (https://sqlite.org/wal.html#walresetbug).

    Args:
        path: of the file.
        make_folder: whether its folder is made where it is missing, for this user only.
    """

    def __init__(self, path: Path, *, make_folder: bool = False) -> None:
        super().__init__(f"store {path}")
        self._path = path
        self._make_folder = make_folder
        self._lock_path = path.with_name(path.name + ".lock")
        self._lock: int | None = None
        self._lock_is_new = False

    def open(self) -> None:
        """Claim it and bring its tables up to date; a file that is refused is left without a lock file of ours."""
        super().open()
        self._lock_is_new = False

    def claim(self) -> None:
        """Take the lock file, and make an empty file for this user only."""
        try:
            if self._make_folder:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._path.is_dir():
                raise StoreError(f"{self.place} is a folder: name a file in it, such as {self._path / 'steersman.db'}")
            self._take_lock()
            assert self._lock is not None
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            _sync_folder(self._path.parent)
        except FileNotFoundError as error:
            folder = self._path.parent
            raise StoreError(
                f"{self.place} cannot be made, its folder does not exist: make it with "
                f"`mkdir -p -m 700 {shlex.quote(str(folder))}`, or name another store with --store"
            ) from error
        except OSError as error:
            raise StoreError(
                f"{self.place} cannot be opened: {error.strerror} ({error.filename or self._path}): give this user "
                f"write access to the folder and the file, or name another store with --store"
            ) from error

    def write_engine(self) -> sa.Engine:
        """One connection, never pooled."""
        engine = self._engine(sa.NullPool, "BEGIN IMMEDIATE")
        listen(engine, "connect", _prepare_writer)
        return engine

    def read_engine(self) -> sa.Engine:
        """A few connections that can neither write nor checkpoint."""
        engine = self._engine(sa.QueuePool, "BEGIN", pool_size=4, max_overflow=12)
        listen(engine, "connect", _prepare_reader)
        return engine

    def words(self, error: SQLAlchemyError) -> str:
        """What SQLite's codes mean for whoever runs the daemon."""
        cause = getattr(error, "orig", None) or error
        name = getattr(cause, "sqlite_errorname", "")
        if name.startswith("SQLITE_NOTADB"):
            return f"{self.place} is not an SQLite database: name another store, or move that file away"
        if name.startswith("SQLITE_CORRUPT"):
            return f"{self.place} is damaged ({cause}): move it away and start anew, or restore a copy"
        if name.startswith("SQLITE_FULL"):
            return f"{self.place} could not be written, the disk is full: free some space; nothing of this unit is kept"
        if name.startswith("SQLITE_IOERR"):
            return f"{self.place} could not be read or written ({cause}, {name}): look at the disk and its free space"
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            return f"{self.place} cannot be written ({cause}): give this user write access, or name another store"
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return f"{self.place} is locked by another program ({cause}): close what has it open"
        return f"{self.place} failed: {cause}"

    def close(self) -> None:
        """Close the connections, then let the lock go."""
        super().close()
        lock, self._lock = self._lock, None
        if lock is None:
            return
        if self._lock_is_new:
            self._lock_path.unlink(missing_ok=True)
        os.close(lock)

    def _take_lock(self) -> None:
        while True:
            new = not self._lock_path.exists()
            self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(self._lock, 32).decode(errors="replace").strip() or "unknown"
                raise StoreInUseError(
                    f"{self.place} is in use by the daemon with process id {holder}: stop that one, or name another "
                    f"store with --store"
                ) from None
            if _names(self._lock_path, self._lock):
                self._lock_is_new = new
                return
            # Whoever was refused has removed it between our opening and our locking it.
            os.close(self._lock)
            self._lock = None

    def _engine(self, pool: type[sa.Pool], begin: str, **settings: object) -> sa.Engine:
        engine = sa.create_engine(
            sa.URL.create("sqlite+pysqlite", database=str(self._path)),
            poolclass=pool,
            hide_parameters=True,
            # Python's sqlite3 would begin transactions when it sees fit: not before a SELECT, which reads torn states.
            connect_args={"isolation_level": None, "check_same_thread": False, "timeout": 10},
            **settings,
        )
        listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin) and None)
        return engine


def _prepare_writer(connection: sqlite3.Connection, record: object) -> None:
    del record
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise StoreError(
            f"the file system allows SQLite no write-ahead log, only {mode}: put the store on a local disk"
        )
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA journal_size_limit=67108864")


def _prepare_reader(connection: sqlite3.Connection, record: object) -> None:
    del record
    connection.execute("PRAGMA query_only=ON")
    connection.execute("PRAGMA wal_autocheckpoint=0")


def _names(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    # The file's own fsync does not keep its name.
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
