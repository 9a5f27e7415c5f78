from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.event import listen

from steersman.monitor.errors import StoreError
from steersman.monitor.store import JobRecord, Unit, open_store
from steersman.monitor.store.migrate import VERSION_TABLE, upgrade
from steersman.monitor.store.tables import metadata

from .conftest import PostgresServer


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        made = sa.create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        made = sa.create_engine(server.fresh("migrate").replace("postgresql:", "postgresql+psycopg:"))
    yield made
    made.dispose()


def test_from_empty_the_migrations_make_the_tables_that_the_code_means(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        upgrade(connection, "it")
        upgrade(connection, "it")
    with engine.begin() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        assert differences == []
        tables = set(sa.inspect(connection).get_table_names())
    assert tables == {*metadata.tables, VERSION_TABLE}


def test_a_migration_that_fails_leaves_nothing(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("the power went out")

    monkeypatch.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", failing)
    if engine.dialect.name == "sqlite":
        listen(engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
        listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN") and None)
    with pytest.raises(RuntimeError, match="the power went out"), engine.begin() as connection:
        upgrade(connection, "it")
    with engine.begin() as connection:
        assert sa.inspect(connection).get_table_names() == []


def test_a_store_of_a_newer_steersman_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = open_store(str(path))
    store.write(Unit(jobs=[JobRecord("a", "gpt", 1, {}, {}, 1.0)]))
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '0099'")
    connection.close()
    with pytest.raises(
        StoreError, match=r"was written by a newer Steersman \(revision 0099; this one knows up to 0001"
    ):
        open_store(str(path))


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    with pytest.raises(StoreError, match=r"is a database of another program \(it has a table songs\)"):
        open_store(str(path))
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("songs",)]
    connection.close()


def test_a_shared_postgresql_database_is_used_unless_a_name_collides(postgres: PostgresServer) -> None:
    url = postgres.fresh("shared")
    postgres.execute("shared", "CREATE TABLE songs (title TEXT)")
    open_store(url).close()
    url = postgres.fresh("shared")
    postgres.execute("shared", "CREATE TABLE rank (title TEXT)")
    with pytest.raises(StoreError, match=r"is a database of another program \(it has a table rank\)"):
        open_store(url)


def test_a_path_with_a_percent_sign_is_a_path(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (tmp_path / "50%(x)s").mkdir()
        open_store(str(tmp_path / "50%(x)s" / "store.db")).close()
