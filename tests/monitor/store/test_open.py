"""What stands after `--store`, and what is said when it cannot be opened."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from steersman.monitor.errors import StoreError, StoreInUseError
from steersman.monitor.store import JobRecord, MemoryStore, RowsWrite, Unit, open_store, public_url
from steersman.rules.samples import Column, Samples

from .conftest import PostgresServer

JOB = JobRecord("a", "gpt", 1, {}, {}, 1.0)


def test_memory() -> None:
    assert isinstance(open_store("memory://"), MemoryStore)


def test_a_path_and_its_url_are_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "new" / "folder").mkdir(parents=True)
    store = open_store(str(tmp_path / "new" / "folder" / "store.db"))
    store.write(Unit(jobs=[JOB]))
    store.close()
    for url in (
        f"sqlite:///{tmp_path}/new/folder/store.db",
        "sqlite:///new/folder/store.db",
        "new/folder/store.db",
        "~/new/folder/store.db",
    ):
        store = open_store(url)
        assert store.find("gpt") == JOB, url
        store.close()


def test_what_is_made_is_this_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "new"))
    path = tmp_path / "new" / "steersman" / "store.db"
    store = open_store(str(path))
    store.write(Unit(jobs=[JOB]))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    store.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "'' is no kind of store: write a path, sqlite:///PATH, postgresql://"),
        ("mysql://root:geheim@db/x", "'mysql://db/x' is no kind of store"),
        ("sqlite://", "sqlite:// names no file: write sqlite:///PATH"),
        ("sqlite:///", "names no file"),
        ("postgresql://me:geheim@db:port/x", "'postgresql://db:port/x' cannot be read as a URL"),
    ],
)
def test_a_url_that_names_no_store(url: str, words: str) -> None:
    with pytest.raises(StoreError, match=re.escape(words)) as caught:
        open_store(url)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/var/lib/store.db", "/var/lib/store.db"),
        ("sqlite:////a@b.db", "sqlite:////a@b.db"),
        ("memory://", "memory://"),
        ("postgresql://u:p@h:1/d?host=/tmp&password=x&user=y", "postgresql://h:1/d?host=/tmp"),
        ("postgresql://u:p/w@x@h/d?password=x", "postgresql://h/d"),
    ],
)
def test_a_url_is_shown_without_credentials(url: str, shown: str) -> None:
    assert public_url(url) == shown


def test_a_second_daemon_is_told_who_holds_the_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    script = (
        "import sys; from steersman.monitor.store import open_store; s = open_store(sys.argv[1]); print(1, flush=True)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", f"{script}; sys.stdin.read()", str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "1\n"
        with pytest.raises(
            StoreInUseError, match=rf"is in use by the daemon with process id {child.pid}: stop that one"
        ):
            open_store(str(path))
    finally:
        child.kill()
        child.communicate()
    store = open_store(str(path))
    with pytest.raises(StoreInUseError, match=f"process id {os.getpid()}"):
        open_store(str(path))
    store.write(Unit(jobs=[JOB]))
    store.close()
    open_store(str(path)).close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("To whom it may concern. " * 100)
    with pytest.raises(StoreError, match=r"notes.txt is not an SQLite database: name another store, or move"):
        open_store(str(path))
    assert path.read_text().startswith("To whom")
    assert list(tmp_path.iterdir()) == [path]
    lock = path.with_name("notes.txt.lock")
    lock.touch()
    with pytest.raises(StoreError, match="is not an SQLite database"):
        open_store(str(path))
    assert lock.exists()  # it was there before


def test_a_lock_file_that_was_removed_while_it_was_taken_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    lock = fcntl.flock
    removed: list[Path] = []

    def removed_in_between(descriptor: int, operation: int) -> None:
        lock(descriptor, operation)
        if not removed:
            removed.append(path.with_name("store.db.lock"))
            removed[0].unlink()

    monkeypatch.setattr(fcntl, "flock", removed_in_between)
    store = open_store(str(path))
    assert removed[0].read_text() == f"{os.getpid()}\n"
    with pytest.raises(StoreInUseError):
        open_store(str(path))
    assert removed[0].exists()
    store.close()


def test_a_folder_that_somebody_named_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "my runs" / "deep" / "store.db"
    words = f"store {path} cannot be made, its folder does not exist: make it with `mkdir -p -m 700 '{path.parent}'`"
    for url in (str(path), f"sqlite:///{path}"):
        with pytest.raises(StoreError, match=re.escape(words)):
            open_store(url)
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    open_store(str(path)).close()
    os.truncate(path, 3 * 4096)
    with pytest.raises(StoreError, match=r"store.db is damaged \(.*\): move it away and start anew, or restore a copy"):
        open_store(str(path)).write(Unit(jobs=[JOB]))


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is a folder: name a file in it, such as .*/steersman.db"):
        open_store(str(tmp_path))


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be opened: (Not a directory|File exists) .*name another store"):
        open_store(str(tmp_path / "file" / "store.db"))


@pytest.fixture
def public_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="steersman-store-"))
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


def test_a_folder_that_may_not_be_written(public_folder: Path) -> None:
    # To root nothing is read-only, so the store is opened as somebody else.
    script = (
        "import os, sys\n"
        "from steersman.monitor.errors import StoreError\n"
        "from steersman.monitor.store import open_store, sql, sqlite\n"
        "os.geteuid() or os.setuid(65534)\n"
        "try:\n    open_store(sys.argv[1])\n"
        "except StoreError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(public_folder / "store.db")], capture_output=True, text=True, timeout=60
    )
    assert "cannot be opened: Permission denied" in done.stdout, done.stderr
    assert "give this user write access" in done.stdout


def test_readers_in_other_threads_see_whole_units_while_chunks_are_sealed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store.db"))
    store.write(Unit(jobs=[JOB]))
    done = threading.Event()
    torn: list[str] = []

    def read() -> None:
        while not done.is_set():
            samples = store.series("a", "loss").get(0)
            if samples is not None and samples.steps.tolist() != list(range(len(samples))):
                torn.append(f"{len(samples)} rows, not in a row")
            if samples is not None and len(samples) % 100:
                torn.append(f"half a unit: {len(samples)} rows")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for start in range(0, 8000, 100):
        steps = np.arange(start, start + 100)
        rows = Samples(steps, steps.astype(np.float64), {"loss": Column.full(steps)})
        store.write(Unit(rows=[RowsWrite("a", 0, start + 1, rows)]))
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []
    assert len(store.series("a", "loss")[0]) == 8000
    store.close()


def test_readers_can_neither_write_nor_checkpoint(tmp_path: Path) -> None:
    from steersman.monitor.store.sqlite import SqliteDatabase

    database = SqliteDatabase(tmp_path / "store.db")
    database.open()
    with database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA query_only").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar() == 0
    with pytest.raises(StoreError, match="cannot be written"), database.reading() as connection:
        connection.exec_driver_sql("DELETE FROM attempt")
    with database.writing() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    database.close()


def test_a_postgresql_server_that_is_not_there() -> None:
    with socket.socket() as taken:
        # Bound and not listening: whoever connects is turned away.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(StoreError, match=rf"store postgresql://127.0.0.1:{port}/x cannot be reached") as caught:
            open_store(f"postgresql://me:geheim@127.0.0.1:{port}/x")
    assert "geheim" not in str(caught.value)
    assert "check that the server runs" in str(caught.value)


def test_a_wrong_password_is_said_and_not_repeated(postgres: PostgresServer) -> None:
    url = postgres.url("postgres").replace("geheim", "falsch")
    with pytest.raises(
        StoreError, match=r"refused us .*password authentication failed.*check user and password"
    ) as caught:
        open_store(url)
    assert "falsch" not in str(caught.value)


def test_a_database_that_nobody_made(postgres: PostgresServer) -> None:
    with pytest.raises(StoreError, match=r"is not there \(.*\): create it with createdb"):
        open_store(postgres.url("nowhere"))


def test_a_second_daemon_on_one_postgresql_database_is_told_who_holds_it(postgres: PostgresServer) -> None:
    url = postgres.fresh("held")
    store = open_store(url)
    with pytest.raises(
        StoreInUseError, match=rf"is in use by steersman daemon {os.getpid()} on .* \(server process \d+\)"
    ):
        open_store(url)
    store.close()
    open_store(url).close()


def test_a_lost_connection_costs_one_unit_at_most(postgres: PostgresServer) -> None:
    store = open_store(postgres.fresh("lost"))
    store.write(Unit(jobs=[JOB]))
    assert store.find("gpt") == JOB
    postgres.execute("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'lost'")
    rows = Samples(np.arange(1), np.zeros(1), {"loss": Column.full([1.0])})
    with pytest.raises(StoreError, match="cannot be reached or used"):
        store.write(Unit(rows=[RowsWrite("a", 0, 1, rows)]))
    store.write(Unit(rows=[RowsWrite("a", 0, 1, rows)]))
    assert store.series("a", "loss")[0].steps.tolist() == [0]
    store.close()
