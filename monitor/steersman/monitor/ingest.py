"""What has been taken in of each rank: duplicates are cut, gaps are not taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steersman.monitor import translate
from steersman.monitor.errors import LimitError
from steersman.monitor.meters import Meters
from steersman.monitor.settings import IngestSettings
from steersman.rules.samples import Samples
from steersman.v1 import telemetry_pb2 as pb


@dataclass(frozen=True)
class NewRows:
    """What of a batch is new: directly after the mark, `skipped` rows aside that are lost for good."""

    first_seq: int
    samples: Samples
    skipped: int


class Intake:
    """High-water marks of what was received, ahead of what is durable; lives on the event loop.

    Args:
        bounds: how much is taken.
        meters: what is counted.
    """

    def __init__(self, bounds: IngestSettings, meters: Meters) -> None:
        self._bounds = bounds
        self._meters = meters
        self._marks: dict[tuple[str, int], int] = {}
        self._series: dict[str, set[str]] = {}

    def opened(self, attempt_id: str, durable: Mapping[int, int]) -> None:
        """An agent has opened a job. Rows that are still on their way to the store stay counted as received."""
        for rank, seq in durable.items():
            key = (attempt_id, rank)
            self._marks[key] = max(seq, self._marks.get(key, 0))

    def mark(self, attempt_id: str, rank: int) -> int:
        """The highest sequence number taken in; 0 for none."""
        return self._marks.get((attempt_id, rank), 0)

    def cut(self, attempt_id: str, rank: int, batch: pb.Batch) -> NewRows | None:
        """What of a batch is new; None where nothing is, or where rows before it are missing.

        Raises:
            MalformedError: the batch breaks the contract.
            LimitError: it is too large.
        """
        samples = translate.samples(batch, self._bounds)
        names = self._series.setdefault(attempt_id, set())
        names.update(samples.columns)
        if len(names) > self._bounds.max_series:
            raise LimitError(f"attempt {attempt_id} has more than {self._bounds.max_series} different series")
        mark = self.mark(attempt_id, rank)
        last = batch.first_seq + len(samples) - 1
        if last <= mark:
            self._meters.duplicate.inc()
            return None
        if batch.first_seq - batch.skipped > mark + 1:
            self._meters.refused.inc()
            return None
        known = max(0, mark + 1 - batch.first_seq)
        skipped = max(0, batch.first_seq - mark - 1)
        rows = samples.rows(known, len(samples)) if known else samples
        self._marks[attempt_id, rank] = last
        self._meters.taken.inc()
        self._meters.rows.inc(len(rows))
        return NewRows(batch.first_seq + known, rows, skipped)
