"""A look into a store's file that changes nothing in it, whether or not a daemon holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from steersman.monitor.errors import StoreError
from steersman.monitor.store import reader
from steersman.monitor.store.contract import JobRecord, LedgerRecord
from steersman.rules.samples import Samples


@dataclass(frozen=True)
class Recorded:
    """What a store has of one attempt.

    Attributes:
        job: the attempt.
        series: by name, those of the lowest rank that has a loss.
        adjustments: by id, the JSON of all adjustments of the job.
        ledger: of this attempt, in order.
    """

    job: JobRecord
    series: Mapping[str, Samples]
    adjustments: Mapping[str, str]
    ledger: Sequence[LedgerRecord]


def recorded(path: Path) -> Iterator[Recorded]:
    """Every attempt of every job, the oldest first.

    Raises:
        StoreError: it is no store, or of another version, or damaged.
    """
    engine = sa.create_engine(f"sqlite:///file:{quote(str(path.absolute()))}?mode=ro&uri=true", poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            for job in reversed(reader.jobs(connection, ended=True)):
                yield Recorded(
                    job,
                    _series(connection, job.attempt_id),
                    reader.adjustments(connection, job.name),
                    reader.ledger(connection, job.name, job.attempt_id),
                )
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(f"no store of this Steersman's version, or damaged: {cause}") from None
    finally:
        engine.dispose()


def _series(connection: sa.Connection, attempt_id: str) -> dict[str, Samples]:
    names = [info.name for info in reader.list_series(connection, attempt_id)]
    ranks = reader.series(connection, attempt_id, "loss", (), 0, None) if "loss" in names else {}
    if not ranks:
        return {}
    rank = min(ranks)
    found = {"loss": ranks[rank]}
    for name in names:
        if name not in found:
            read = reader.series(connection, attempt_id, name, (rank,), 0, None)
            if rank in read:
                found[name] = read[rank]
    return found
