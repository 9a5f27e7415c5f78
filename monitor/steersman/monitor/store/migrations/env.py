"""Alembic's way in: runs inside the transaction of the connection that it is given."""

from __future__ import annotations

from alembic import context

from steersman.monitor.store.migrate import VERSION_TABLE
from steersman.monitor.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
context.run_migrations()
