"""The tables of the first version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "adjustment",
        sa.Column(
            "key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
            comment="in the order of first writing",
        ),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("attempt_key", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="JSON"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_adjustment")),
        sa.UniqueConstraint("id", name=op.f("uq_adjustment_id")),
    )
    op.create_index(op.f("ix_adjustment_attempt_key"), "adjustment", ["attempt_key"], unique=False)
    op.create_table(
        "attempt",
        sa.Column(
            "key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
            comment="short for attempt_id in the other tables",
        ),
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("state", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_attempt")),
        sa.UniqueConstraint("attempt_id", name=op.f("uq_attempt_attempt_id")),
    )
    op.create_index(op.f("ix_attempt_name_attempt"), "attempt", ["name", "attempt"], unique=False)
    op.create_table(
        "chunk",
        sa.Column("attempt_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rank", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("series", sa.BigInteger(), autoincrement=False, nullable=False, comment="0: steps and times"),
        sa.Column("chunk", sa.BigInteger(), autoincrement=False, nullable=False, comment="from 0"),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("min_step", sa.BigInteger(), nullable=False),
        sa.Column("max_step", sa.BigInteger(), nullable=False),
        sa.Column("crc", sa.BigInteger(), nullable=False, comment="CRC32 of data"),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("attempt_key", "rank", "series", "chunk", name=op.f("pk_chunk")),
    )
    op.create_table(
        "event",
        sa.Column("attempt_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rank", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("attempt_key", "rank", "event_seq", name=op.f("pk_event")),
    )
    op.create_index(op.f("ix_event_attempt_key_time"), "event", ["attempt_key", "time"], unique=False)
    op.create_table(
        "findings",
        sa.Column("attempt_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="JSON"),
        sa.PrimaryKeyConstraint("attempt_key", name=op.f("pk_findings")),
    )
    op.create_table(
        "journal",
        sa.Column(
            "key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
            comment="in the order of writing",
        ),
        sa.Column("attempt_key", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False, comment="over all ranks"),
        sa.Column("min_step", sa.BigInteger(), nullable=False),
        sa.Column("max_step", sa.BigInteger(), nullable=False),
        sa.Column("crc", sa.BigInteger(), nullable=False, comment="CRC32 of data"),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="rows of one unit that are in no chunk yet"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_journal")),
    )
    op.create_index(op.f("ix_journal_attempt_key"), "journal", ["attempt_key"], unique=False)
    op.create_table(
        "ledger",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="canonical JSON"),
        sa.Column("prev", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job", "seq", name=op.f("pk_ledger")),
    )
    op.create_table(
        "rank",
        sa.Column("attempt_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rank", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "high_water", sa.BigInteger(), nullable=False, comment="last sequence number that needs no resending"
        ),
        sa.Column("sealed", sa.BigInteger(), nullable=False, comment="last sequence number in a chunk"),
        sa.Column("lost", sa.BigInteger(), nullable=False, comment="rows lost for good"),
        sa.Column("chunks", sa.BigInteger(), nullable=False, comment="chunks sealed so far"),
        sa.PrimaryKeyConstraint("attempt_key", "rank", name=op.f("pk_rank")),
    )
    op.create_table(
        "series",
        sa.Column("attempt_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False, comment="from 1"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False, comment="over all ranks"),
        sa.PrimaryKeyConstraint("attempt_key", "number", name=op.f("pk_series")),
        sa.UniqueConstraint("attempt_key", "name", name=op.f("uq_series_attempt_key_name")),
    )
    op.create_table(
        "snapshot",
        sa.Column("attempt_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("crc", sa.BigInteger(), nullable=False, comment="CRC32 of data"),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("attempt_key", name=op.f("pk_snapshot")),
    )
    if op.get_bind().dialect.name == "postgresql":
        # What is in these columns is compressed already: keep PostgreSQL from trying again.
        for table in ("chunk", "journal", "snapshot"):
            op.execute(f"ALTER TABLE {table} ALTER COLUMN data SET STORAGE EXTERNAL")


def downgrade() -> None:
    """There is nothing before the first version: all tables go."""
    for table in (
        "ledger",
        "event",
        "adjustment",
        "findings",
        "snapshot",
        "journal",
        "chunk",
        "series",
        "rank",
        "attempt",
    ):
        op.drop_table(table)
