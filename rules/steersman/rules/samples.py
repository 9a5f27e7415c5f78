"""Rows of one rank as the rules see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Column:
    """One series over the rows of a batch. A value that is absent is *unknown*; NaN is a value like any other.

    Attributes:
        values: shape (n,), float64; what stands where `present` is false means nothing.
        present: shape (n,), bool.
        unit: "s", "bytes", "1", or empty for the job's own unit.
    """

    values: Floats
    present: Bools
    unit: str = ""

    @classmethod
    def full(cls, values: npt.ArrayLike, unit: str = "") -> Column:
        """A column in which every row has a value.

        >>> Column.full([1.0, 2.0]).present.tolist()
        [True, True]
        """
        array = np.asarray(values, dtype=np.float64)
        return cls(array, np.ones(array.shape, dtype=np.bool_), unit)


@dataclass(frozen=True)
class Samples:
    """Consecutive samples of one rank, columnar.

    Attributes:
        steps: shape (n,), int64, the job's optimizer step from 0. It may jump back when a job resumes.
        times: shape (n,), float64, seconds since the epoch at the end of the step.
        columns: by series name: `loss`, `grad_norm`, `lr/GROUP`, `val_loss` or `val_loss/SET`, `step_time`, …
    """

    steps: Ints
    times: Floats
    columns: Mapping[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.steps.shape[0])

    def rows(self, start: int, stop: int) -> Samples:
        """The rows from `start` up to, not including, `stop`.

        >>> import numpy as np
        >>> s = Samples(np.arange(4), np.zeros(4), {"loss": Column.full([4.0, 3.0, 2.0, 1.0])})
        >>> s.rows(1, 3).columns["loss"].values.tolist()
        [3.0, 2.0]
        """
        cut = slice(start, stop)
        columns = {n: Column(c.values[cut], c.present[cut], c.unit) for n, c in self.columns.items()}
        return Samples(self.steps[cut], self.times[cut], columns)
