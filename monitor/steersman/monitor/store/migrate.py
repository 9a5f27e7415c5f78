"""Bringing a database to the tables that this Steersman works with."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from steersman.monitor.errors import StoreError
from steersman.monitor.store.tables import metadata

FOLDER = Path(__file__).with_name("migrations")
"""Where the migrations lie, inside the package."""

VERSION_TABLE = "steersman_version"
"""A name of our own, because another program's `alembic_version` may be in the same database."""


def upgrade(connection: sa.Connection, place: str) -> None:
    """Apply what is missing, inside the caller's transaction.

    Args:
        connection: a connection in a transaction.
        place: what to call the database in an error.

    Raises:
        StoreError: it belongs to a newer Steersman or to another program.
    """
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    found = set(MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads())
    unknown = found - {revision.revision for revision in script.walk_revisions()}
    if unknown:
        raise StoreError(
            f"{place} was written by a newer Steersman (revision {', '.join(sorted(unknown))}; this one knows up to "
            f"{script.get_current_head()}): upgrade Steersman, or name another store"
        )
    if found == set(script.get_heads()):
        return
    if not found:
        _refuse_strangers(connection, place)
    command.upgrade(config, "head")


def _refuse_strangers(connection: sa.Connection, place: str) -> None:
    tables = set(sa.inspect(connection).get_table_names()) - {VERSION_TABLE}
    # A file is one program's; a PostgreSQL database may be shared as long as no table has a name of ours.
    foreign = tables if connection.dialect.name == "sqlite" else tables & set(metadata.tables)
    if foreign:
        raise StoreError(
            f"{place} is a database of another program (it has a table {min(foreign)}): name another store"
        )
