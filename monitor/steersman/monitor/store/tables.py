"""The tables of a store, as the newest migration leaves them."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives row numbers of itself only to INTEGER, whose values have 64 bits there.
_Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("key", _Key, primary_key=True, autoincrement=True, comment="short for attempt_id in the other tables"),
    sa.Column("attempt_id", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("facts", sa.Text, nullable=False, comment="JSON"),
    sa.Column("state", sa.Text, nullable=False, comment="JSON"),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("ended_at", sa.Double),
    sa.Index(None, "name", "attempt"),
)

rank = sa.Table(
    "rank",
    metadata,
    sa.Column("attempt_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("rank", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("high_water", sa.BigInteger, nullable=False, comment="last sequence number that needs no resending"),
    sa.Column("sealed", sa.BigInteger, nullable=False, comment="last sequence number in a chunk"),
    sa.Column("lost", sa.BigInteger, nullable=False, comment="rows lost for good"),
    sa.Column("chunks", sa.BigInteger, nullable=False, comment="chunks sealed so far"),
)

series = sa.Table(
    "series",
    metadata,
    sa.Column("attempt_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False, comment="from 1"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("points", sa.BigInteger, nullable=False, comment="over all ranks"),
    sa.UniqueConstraint("attempt_key", "name"),
)

AXIS = 0
"""Series number of the chunks that hold steps and times, once for all series of the same rows."""

chunk = sa.Table(
    "chunk",
    metadata,
    sa.Column("attempt_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("rank", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("series", sa.BigInteger, primary_key=True, autoincrement=False, comment="0: steps and times"),
    sa.Column("chunk", sa.BigInteger, primary_key=True, autoincrement=False, comment="from 0"),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("min_step", sa.BigInteger, nullable=False),
    sa.Column("max_step", sa.BigInteger, nullable=False),
    sa.Column("crc", sa.BigInteger, nullable=False, comment="CRC32 of data"),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

journal = sa.Table(
    "journal",
    metadata,
    sa.Column("key", _Key, primary_key=True, autoincrement=True, comment="in the order of writing"),
    sa.Column("attempt_key", sa.BigInteger, nullable=False, index=True),
    sa.Column("rows", sa.BigInteger, nullable=False, comment="over all ranks"),
    sa.Column("min_step", sa.BigInteger, nullable=False),
    sa.Column("max_step", sa.BigInteger, nullable=False),
    sa.Column("crc", sa.BigInteger, nullable=False, comment="CRC32 of data"),
    sa.Column("data", sa.LargeBinary, nullable=False, comment="rows of one unit that are in no chunk yet"),
)

snapshot = sa.Table(
    "snapshot",
    metadata,
    sa.Column("attempt_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("crc", sa.BigInteger, nullable=False, comment="CRC32 of data"),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

findings = sa.Table(
    "findings",
    metadata,
    sa.Column("attempt_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("body", sa.Text, nullable=False, comment="JSON"),
)

adjustment = sa.Table(
    "adjustment",
    metadata,
    sa.Column("key", _Key, primary_key=True, autoincrement=True, comment="in the order of first writing"),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("attempt_key", sa.BigInteger, nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False, comment="JSON"),
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("attempt_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("rank", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("event_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Index(None, "attempt_key", "time"),
)

ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("attempt_id", sa.Text, nullable=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("body", sa.Text, nullable=False, comment="canonical JSON"),
    sa.Column("prev", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)
