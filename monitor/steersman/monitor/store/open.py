"""From the word after `--store` to a store."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from steersman.monitor.errors import StoreError
from steersman.monitor.store.contract import Store
from steersman.monitor.store.memory import MemoryStore

_KNOWN = "a path, sqlite:///PATH, postgresql://USER@HOST/DATABASE or memory://"


def open_store(url: str) -> Store:
    """Open the store at a URL, creating or upgrading it as needed.

    Of folders only this user's state folder is made, where the default store lies.

    Args:
        url: `sqlite:///PATH` (four slashes before an absolute path, as SQLAlchemy has it), a bare path, `memory://`,
            or `postgresql://USER@HOST/DATABASE`.

    Raises:
        StoreInUseError: another daemon holds it.
        StoreError: anything else that stands in the way, in words.
    """
    # SQLAlchemy and Alembic take a while to import, and a store in memory needs neither.
    if url == "memory://":
        return MemoryStore()
    scheme, found, rest = url.partition("://")
    if scheme in ("postgresql", "postgres") and found:
        return _open_postgres(url)
    if scheme == "sqlite" and found:
        if len(rest) < 2 or not rest.startswith("/"):
            raise StoreError(f"{url} names no file: write sqlite:///PATH")
        return _open_sqlite(rest[1:])
    if found or not url:
        raise StoreError(f"{public_url(url)!r} is no kind of store: write {_KNOWN}")
    return _open_sqlite(url)


def public_url(url: str) -> str:
    """The URL without user and password, for logs and screens.

    >>> public_url("postgresql://me:secret@db/steersman")
    'postgresql://db/steersman'
    """
    scheme, found, rest = url.partition("://")
    if not found or scheme == "sqlite":
        return url
    # A password may hold "/" or "@" unescaped in a URL that is wrong, and such a URL ends up in an error, too.
    _, _, shown = rest.rpartition("@")
    shown, asked, query = shown.partition("?")
    kept = "&".join(part for part in query.split("&") if not part.startswith(("password=", "user=")))
    return f"{scheme}://{shown}{asked if kept else ''}{kept}"


def _open_sqlite(path: str) -> Store:
    from steersman.monitor.store.sql import SqlStore
    from steersman.monitor.store.sqlite import SqliteDatabase

    file = Path(path).expanduser().absolute()
    # A folder that somebody named and that is not there may be a slip of the pen, or a disk that is not mounted.
    database = SqliteDatabase(file, make_folder=file.parent == Path(platformdirs.user_state_dir("steersman")))
    database.open()
    return SqlStore(database)


def _open_postgres(url: str) -> Store:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from steersman.monitor.store.postgres import PostgresDatabase
    from steersman.monitor.store.sql import SqlStore

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Their message may carry the password.
        raise StoreError(f"{public_url(url)!r} cannot be read as a URL: write {_KNOWN}") from None
    database = PostgresDatabase(parsed, public_url(url))
    database.open()
    return SqlStore(database)
