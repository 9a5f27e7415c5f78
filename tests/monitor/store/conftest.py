"""Three stores behind one contract, and a PostgreSQL server of our own for one of them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from steersman.monitor.store import MemoryStore, Store, open_store


@dataclass(frozen=True)
class PostgresServer:
    """A server on a Unix socket that nobody else knows."""

    folder: Path

    def url(self, database: str) -> str:
        return f"postgresql://postgres:geheim@/{database}?host={self.folder}"

    def execute(self, database: str, statement: str) -> None:
        with psycopg.connect(
            f"host={self.folder} dbname={database} user=postgres password=geheim", autocommit=True
        ) as connection:
            connection.execute(statement.encode())

    def fresh(self, database: str) -> str:
        """Make a database anew and say where it is."""
        self.execute("postgres", f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
        self.execute("postgres", f'CREATE DATABASE "{database}"')
        return self.url(database)


def _program(name: str) -> str:
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), *map(Path, os.get_exec_path())]
    found = next((folder / name for folder in folders if (folder / name).exists()), None)
    assert found is not None, f"{name} is not installed: apt-get install postgresql-15, or make setup"
    return str(found.resolve())


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    # Short, because a socket's path has 107 characters at most, and outside pytest's folders, which are root's alone.
    folder = Path(tempfile.mkdtemp(prefix="steersman-pg-", dir="/tmp"))
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)

    def run(*command: str) -> None:
        done = subprocess.run(
            command, user=user, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr

    password = folder / "password"
    password.write_text("geheim")
    if user is not None:
        os.chown(password, pwd.getpwnam(user).pw_uid, -1)
    data, control = str(folder / "data"), _program("pg_ctl")
    try:
        run(
            _program("initdb"), "-D", data, "-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C",
            f"--pwfile={password}", "--no-sync",
        )  # fmt: skip
        # Without fsync: what a power cut leaves is PostgreSQL's own business.
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c shared_buffers=16MB"
        run(control, "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield PostgresServer(folder)
        finally:
            run(control, "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Shelf:
    """A store and how to open it again: what it keeps must survive that."""

    open: Callable[[], Store]
    store: Store
    kind: str

    def reopen(self) -> None:
        if self.kind != "memory":
            self.store.close()
            self.store = self.open()


KINDS = ("memory", "sqlite", "postgres")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Shelf]]:
    """Makes empty stores of a kind, and closes them at the end."""
    made: list[Shelf] = []

    def make(kind: str) -> Shelf:
        if made:
            made[-1].store.close()
        url = "memory://"
        if kind == "sqlite":
            url = str(tmp_path / f"{len(made)}.db")
        elif kind == "postgres":
            url = request.getfixturevalue("postgres").fresh("contract")
        shelf = Shelf(lambda: open_store(url), open_store(url), kind)
        made.append(shelf)
        return shelf

    yield make
    for shelf in made:
        shelf.store.close()


@pytest.fixture
def shelf(make_shelf: Callable[[str], Shelf], kind: str) -> Shelf:
    return make_shelf(kind)


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()
