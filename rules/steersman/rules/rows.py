"""Walks the rows of a batch through a panel of features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from steersman.rules.features.panel import BOUND, Panel
from steersman.rules.samples import Samples

Cell = float | None

DIRECT = (
    "loss", "grad_norm", "hypergrad_cos", "update_norm", "weight_norm", "predicted_decrease", "loss_scale",
    "clipped_norm", "batch_size",
)  # fmt: skip
"""Series that enter a feature by themselves, beside `lr/GROUP` and `val_loss/SET`."""


def cells(samples: Samples, name: str) -> list[Cell] | None:
    """A column as a list, None where a value is absent; None where the batch has no such column."""
    column = samples.columns.get(name)
    there = 0 if column is None else int(np.count_nonzero(column.present))
    if column is None or not there:
        return None
    values: list[float] = column.values.tolist()
    if there == len(values):
        return list(values)
    present: list[bool] = column.present.tolist()
    return [v if p else None for v, p in zip(values, present, strict=True)]


class RowReader:
    """Feeds rows to a panel one by one.

    The LR watched is that of one group: the first, by name, of those that were there in the first row that had any.
    Where several optimizers step in turn, as those of a GAN, a row has the rates of one of them, and its loss and
    gradients are that one's: of the others' rows only values that are not finite are taken, and validation. Groups that
    ever were in one row with the one that is watched have its loss. Where hardly any row is of that one any more,
    another is watched from there on.

    Attributes:
        group: whose LR is watched.
        together: the groups that were in one row with it.
        passed: step of the last row that was passed over.
    """

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.group = ""
        self.together: list[str] = []
        self.passed = -1

    def read(self, samples: Samples) -> Iterator[bool | None]:
        """Take the rows in order; after each says whether it held a value that is not finite, None if passed over."""
        n = len(samples)
        panel = self.panel
        steps: list[int] = samples.steps.tolist()
        times: list[float] = samples.times.tolist()
        loss, grad, cosine, update, weight, promise, scale, clipped, batch = (cells(samples, name) for name in DIRECT)
        rates = {name: cells(samples, name) for name in sorted(samples.columns) if name.startswith("lr/")}
        sets = [
            (name.partition("/")[2], column)
            for name in sorted(samples.columns)
            if name == "val_loss" or name.startswith("val_loss/")
            if (column := cells(samples, name)) is not None
        ]
        seldom = any(column is not None for column in (cosine, update, promise, scale, clipped, batch)) or bool(sets)
        rate = rates.get(self.group)
        others = self._others(rates)
        for k in range(n):
            lr = None if rate is None else rate[k]
            if others and (there := [name for name, column in others if column[k] is not None]):
                if lr is not None:
                    self.together += there
                    others = self._others(rates)
                elif not self.group or not any(
                    c is not None and c[k] is not None for c in map(rates.get, self.together)
                ):
                    # The first row that has any rate, or another optimizer's.
                    over = bool(self.group) and panel.other_row()
                    if self.group and not over:
                        values = loss[k] if loss is not None else None, grad[k] if grad is not None else None
                        validation = [(name, column[k]) for name, column in sets]
                        yield True if self._read_other(steps[k], times[k], values, validation) else None
                        continue
                    if over:
                        panel.take_over()
                    self.group, self.together = there[0], there[1:]
                    rate, others = rates[self.group], self._others(rates)
                    lr = rate[k] if rate is not None else None
            if panel.share < 1.0:
                panel.own_row()
            taken = panel.clock(steps[k], times[k])
            bad = False
            if lr is not None:
                panel.learning_rate(lr, taken)
            if grad is not None and (norm := grad[k]) is not None:
                panel.take_grad_norm(norm)
                bad = panel.bad_grad.run > 0
            if loss is not None and (value := loss[k]) is not None:
                panel.take_loss(value)
                bad = bad or panel.bad_loss.run > 0
            if not seldom:
                yield bad
                continue
            if batch is not None and (size := batch[k]) is not None:
                panel.take_batch_size(size)
            if scale is not None or clipped is not None:
                panel.take_numerics(
                    scale[k] if scale is not None else None,
                    grad[k] if grad is not None else None,
                    clipped[k] if clipped is not None else None,
                )
            if cosine is not None or update is not None:
                c = cosine[k] if cosine is not None else None
                u = update[k] if update is not None else None
                w = weight[k] if weight is not None else None
                if c is not None or u is not None:
                    panel.take_direction(c, u, w)
            if promise is not None and (p := promise[k]) is not None:
                panel.take_promise(p, grad[k] if grad is not None else None)
            for name, column in sets:
                v = column[k]
                if v is not None:
                    panel.take_validation(name, v)
            yield bad

    def _others(self, rates: Mapping[str, list[Cell] | None]) -> list[tuple[str, list[Cell]]]:
        """The groups that were never in one row with the one that is watched."""
        known = (self.group, *self.together)
        return [(name, column) for name, column in rates.items() if column is not None and name not in known]

    def _read_other(
        self, step: int, time: float, values: tuple[Cell, Cell], validation: Sequence[tuple[str, Cell]]
    ) -> bool:
        """Take of another optimizer's row, with its loss and gradient norm, what is everybody's; whether it broke."""
        panel = self.panel
        self.passed = step
        for name, value in validation:
            if value is not None:
                panel.take_validation(name, value)
        loss, norm = (value if value is not None and not abs(value) < BOUND else None for value in values)
        if loss is None and norm is None:
            return False
        panel.clock(step, time)
        if norm is not None:
            panel.take_grad_norm(norm)
        if loss is not None:
            panel.take_loss(loss)
        return True
