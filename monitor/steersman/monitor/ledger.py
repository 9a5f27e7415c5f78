"""The append-only, hash-chained record of every adjustment and who decided it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from steersman.monitor.store.contract import LedgerRecord

GENESIS = "0" * 64
"""What stands in place of the hash before the first entry."""


@dataclass(frozen=True)
class RankReading:
    """LRs read back from the optimizer of one rank, by parameter group, and the step for which they were in force."""

    rank: int
    step: int
    lr: tuple[float, ...]


@dataclass(frozen=True)
class LedgerEntry:
    """One thing that happened to an adjustment.

    Attributes:
        seq: per job, from 1.
        time: seconds since the epoch.
        job: the job's name.
        attempt_id: the attempt it belongs to.
        adjustment_id: the adjustment it is about.
        kind: "scale", "set", "hold" or "release".
        params: the adjustment's parameters, a JSON object.
        state: the state that the adjustment reached.
        by: who decided: "policy auto", or "operator NAME".
        reason: why, one sentence.
        step: the step it happened at, -1 where it belongs to none.
        ranks: what was read back, where anything was.
    """

    seq: int
    time: float
    job: str
    attempt_id: str
    adjustment_id: str
    kind: str
    params: Mapping[str, object]
    state: str
    by: str
    reason: str
    step: int = -1
    ranks: tuple[RankReading, ...] = field(default=())

    def body(self) -> str:
        """The canonical JSON of this entry: sorted keys, no spaces, floats as Python's repr, null for NaN and inf."""
        return canonical(
            {
                "adjustment_id": self.adjustment_id,
                "attempt_id": self.attempt_id,
                "by": self.by,
                "job": self.job,
                "kind": self.kind,
                "params": dict(self.params),
                "ranks": [{"lr": list(r.lr), "rank": r.rank, "step": r.step} for r in self.ranks],
                "reason": self.reason,
                "seq": self.seq,
                "state": self.state,
                "step": self.step,
                "time": self.time,
            }
        )

    @classmethod
    def parse(cls, body: str) -> LedgerEntry:
        """The entry back from its canonical JSON; an LR that was no finite number comes back as NaN.

        Raises:
            ValueError: it is no ledger entry.
        """
        try:
            fields = json.loads(body)
            ranks = tuple(
                RankReading(r["rank"], r["step"], tuple(math.nan if lr is None else float(lr) for lr in r["lr"]))
                for r in fields.pop("ranks")
            )
            return cls(**fields, ranks=ranks)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a ledger entry: {error}") from error


class Ledger:
    """The ledger of one job: knows where its chain ends, and makes the next record.

    Args:
        job: the job's name.
        seq: sequence number of the last record, 0 where there is none.
        last: hash of the last record.
    """

    def __init__(self, job: str, seq: int = 0, last: str = GENESIS) -> None:
        self.job = job
        self.seq = seq
        self.last = last

    @classmethod
    def resume(cls, job: str, records: Sequence[LedgerRecord]) -> Ledger:
        """Go on behind the records that a store returned for this job, all its attempts together."""
        return cls(job, records[-1].seq, records[-1].hash) if records else cls(job)

    def append(
        self,
        *,
        time: float,
        attempt_id: str,
        adjustment_id: str,
        kind: str,
        params: Mapping[str, object],
        state: str,
        by: str,
        reason: str,
        step: int = -1,
        ranks: Sequence[RankReading] = (),
    ) -> LedgerRecord:
        """The next record, for the unit that commits what it tells of. A unit that failed is to be written again.

        Raises:
            ValueError: `time` is not finite, or `params` is no JSON object.
        """
        if not math.isfinite(time):
            raise ValueError(f"the time of a ledger entry of job {self.job} is {time}")
        entry = LedgerEntry(
            self.seq + 1,
            float(time),
            self.job,
            attempt_id,
            adjustment_id,
            kind,
            params,
            state,
            by,
            reason,
            step,
            tuple(ranks),
        )
        body = entry.body()
        record = LedgerRecord(self.job, entry.seq, attempt_id, entry.time, body, self.last, entry_hash(self.last, body))
        self.seq, self.last = record.seq, record.hash
        return record


def verify(records: Sequence[LedgerRecord]) -> str | None:
    """Follow the chain of one job from its first record: None when it holds, else where and how it breaks.

    The records are those of all attempts of the job, in the order in which the store returned them. Entries cut off at
    the end leave a chain that holds: see `unaccounted`, and keep the last hash elsewhere.
    """
    job = records[0].job if records else ""
    last = GENESIS
    for expected, record in enumerate(records, start=1):
        where = f"entry {expected} of job {job}"
        if record.seq != expected:
            later = any(other.seq == expected for other in records)
            return f"{where} is {'out of its order' if later else 'missing'}: entry {record.seq} stands in its place"
        if record.prev != last:
            return f"{where} was altered: it does not name the hash of the entry before it"
        if entry_hash(record.prev, record.body) != record.hash:
            return f"{where} was altered: its hash is not that of what it says"
        try:
            entry = LedgerEntry.parse(record.body)
        except ValueError as error:
            return f"{where} was altered: {error}"
        told = [record.job, record.seq, record.attempt_id, record.time]
        if canonical(told) != canonical([entry.job, entry.seq, entry.attempt_id, entry.time]) or record.job != job:
            return f"{where} was altered: job, number, attempt or time beside it are not those it says"
        last = record.hash
    return None


def unaccounted(job: str, records: Sequence[LedgerRecord], adjustments: Mapping[str, str]) -> str | None:
    """Hold a chain that `verify` found whole against the adjustments stored beside it: None where they agree.

    Each adjustment stands where the last entry about it says, for both are committed together; where entries were cut
    off at the end, it stands further.

    Args:
        job: the job's name.
        records: of all attempts of the job.
        adjustments: by id, as JSON, those of all its attempts, read at the same time.
    """
    told = {entry.adjustment_id: entry.state for entry in (LedgerEntry.parse(record.body) for record in records)}
    for identity, text in adjustments.items():
        try:
            state = json.loads(text)["state"]
        except (KeyError, TypeError, ValueError):
            return f"adjustment {identity} of job {job} can't be read, so what the record says of it can't be checked"
        if identity not in told:
            return f"no entry tells of adjustment {identity} of job {job}, which is {state}: entries are missing"
        if told[identity] != state:
            return (
                f"adjustment {identity} of job {job} is {state}, and the last entry about it says {told[identity]}: "
                f"entries behind entry {len(records)} are missing, or the adjustment was altered"
            )
    gone = [identity for identity in told if identity not in adjustments]
    return f"entries tell of adjustment {gone[0]} of job {job}, which is not stored" if gone else None


def entry_hash(prev: str, body: str) -> str:
    """SHA-256 over the hash before and the canonical JSON, hex."""
    return hashlib.sha256((prev + body).encode()).hexdigest()


def canonical(value: object) -> str:
    """The one way to write a JSON value: sorted keys, no spaces, ASCII, floats by repr, null for NaN and infinities.

    >>> canonical({"b": 0.1, "a": [float("nan"), 1]})
    '{"a":[null,1],"b":0.1}'

    Raises:
        ValueError: it is no JSON value.
    """
    try:
        return json.dumps(_finite(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except TypeError as error:
        raise ValueError(f"no JSON value: {error}") from error


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
