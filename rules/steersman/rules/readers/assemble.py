"""From a log under its own names to a recording: which column is what, which row is which step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from steersman.rules.facts import JobFacts
from steersman.rules.readers.axis import Axis, axis_of
from steersman.rules.readers.names import PLANNED, plain
from steersman.rules.readers.naming import Naming, decide
from steersman.rules.readers.reading import Log, ReadError, Wishes
from steersman.rules.readers.table import Table, rows_of
from steersman.rules.readers.unread import unread
from steersman.rules.recording import Recording
from steersman.rules.samples import Column, Floats, Ints, Samples

_NO_SERIES = ("step", "epoch", "time")


def assemble(source: str, name: str, form: str, log: Log, wishes: Wishes) -> Recording:
    """One run as the rules see it.

    Args:
        source: the path as it was given.
        name: for people, where the log has none.
        form: name of the format.
        log: what its reader gave.
        wishes: what the user says of it.

    Raises:
        ReadError: no column reads as a loss, or what the user says is not there.
    """
    naming = decide(log.table, {**log.known, **wishes.columns})
    notes = [*log.notes, *naming.notes]
    series = {role: log.table.columns[n] for role, n in naming.chosen.items() if role not in _NO_SERIES}
    if not log.exact:
        _mark_filtered(series, notes)
        _mark_filled(series, notes)
        notes += unread(log.table.columns, naming.chosen, wishes.columns)
    axis = axis_of(log.table, naming, as_written=log.exact)
    notes += axis.notes
    samples = _samples(log.table, naming, series, axis, log.exact)
    if not len(samples):
        raise ReadError("no row has a loss")
    facts = JobFacts(
        optimizer=wishes.optimizer or log.facts.optimizer,
        planned_steps=wishes.planned_steps or log.facts.planned_steps or _planned(log.table),
    )
    read_as = {role: naming.chosen[role] for role in (*axis.used, *series) if role in naming.chosen}
    return Recording(source, log.name or name, form, samples, facts, tuple(notes), read_as)


def _samples(table: Table, naming: Naming, series: Mapping[str, Column], axis: Axis, exact: bool) -> Samples:
    rates = [role for role in series if role.startswith("lr/")]
    others = [role for role in series if role not in rates]
    kept = np.zeros(table.rows, dtype=np.bool_)
    for role in others:
        kept |= series[role].present
    # Rows that only say the LR are no points; the next point takes it over, for it is in force until another is told.
    led = next((series[role].present for role in ("loss", "grad_norm") if role in series), kept)
    carried = {}
    for role in rates:
        if exact:
            # Which optimizer a row is of is told by whose rate is in it.
            carried[role] = series[role]
            continue
        column = _carried(series[role])
        carried[role] = Column(column.values, column.present & (led | series[role].present))
    places = np.flatnonzero(kept)
    if axis.order is not None:
        places = axis.order[kept[axis.order]]
    steps = axis.steps[places]
    times = _times(table, naming)[places]
    columns = {role: Column(series[role].values[places], series[role].present[places]) for role in others}
    columns |= {role: Column(c.values[places], c.present[places]) for role, c in carried.items()}
    return _merged(Samples(steps, times, columns), others, last=axis.order is not None)


def _merged(samples: Samples, points: list[str], last: bool) -> Samples:
    """Rows of one step that follow each other and complete each other are one; `last`: of two values the later."""
    steps = samples.steps
    if len(steps) < 2 or not (steps[1:] == steps[:-1]).any():
        return samples
    present = [np.flatnonzero(samples.columns[role].present) for role in points]
    order = np.concatenate(present)
    which = np.repeat(np.arange(len(points)), [len(p) for p in present])
    place = np.lexsort((which, order))
    order, which = order[place], which[place]
    if last:
        new = np.ones(len(order), dtype=np.bool_)
        new[1:] = steps[order][1:] != steps[order][:-1]
        row: Ints = np.cumsum(new).astype(np.int64) - 1
    else:
        row = rows_of(steps[order], which)
    n = int(row.max()) + 1  # the last point need not lie in the last row of its step
    out_steps, out_times = np.zeros(n, dtype=np.int64), np.zeros(n)
    out_steps[row], out_times[row] = steps[order], samples.times[order]
    columns: dict[str, Column] = {}
    for k, role in enumerate(points):
        columns[role] = _spread(samples.columns[role], order[which == k], row[which == k], n)
    for role, column in samples.columns.items():
        if role not in columns:
            there = column.present[order]
            columns[role] = _spread(column, order[there], row[there], n)
    return Samples(out_steps, out_times, columns)


def _spread(column: Column, sources: Ints, rows: Ints, n: int) -> Column:
    values, present = np.zeros(n), np.zeros(n, dtype=np.bool_)
    values[rows], present[rows] = column.values[sources], True
    return Column(values, present)


def _carried(column: Column) -> Column:
    n = len(column.values)
    at = np.where(column.present, np.arange(n), -1)
    at = np.maximum.accumulate(at) if n else at
    return Column(column.values[np.maximum(at, 0)], at >= 0)


def _times(table: Table, naming: Naming) -> Floats:
    name = naming.chosen.get("time")
    if name is None:
        return np.zeros(table.rows)
    column = _carried(table.columns[name])
    return np.where(column.present & np.isfinite(column.values), column.values, 0.0)


def _mark_filtered(series: dict[str, Column], notes: list[str]) -> None:
    """The Hugging Face trainer writes a loss that is no number as 0.0; the gradient norm beside it tells."""
    loss, norm = series.get("loss"), series.get("grad_norm")
    if loss is None or norm is None:
        return
    hidden = loss.present & norm.present & (loss.values == 0.0) & np.isnan(norm.values)
    if hidden.any():
        values = np.where(hidden, np.nan, loss.values)
        series["loss"] = Column(values, loss.present, loss.unit)
        notes.append(
            f"{int(hidden.sum())} losses of exactly 0 beside a gradient norm that is no number are read as no numbers"
        )


def _mark_filled(series: dict[str, Column], notes: list[str]) -> None:
    """Some writers fill a gap with NaN: where it comes and goes all the time, it says that nothing was logged."""
    for role, column in series.items():
        bad = column.present & np.isnan(column.values)
        count, points = int(bad.sum()), int(column.present.sum())
        if not count or count == points:
            continue
        shown = bad[column.present]
        stretches = int((shown[1:] & ~shown[:-1]).sum()) + int(shown[0])
        fills = not role.startswith(("loss", "grad_norm")) or (stretches > 3 and stretches * 10 > points - count)
        if fills and count * 5 > points:
            series[role] = Column(column.values, column.present & ~bad, column.unit)
            notes.append(f"{role} is no number in {count} of {points} rows, now and then: read as not logged there")


def _planned(table: Table) -> int:
    for name, column in table.columns.items():
        if plain(name) in PLANNED and column.present.any():
            value = float(column.values[column.present][-1])
            if 0 < value < 1e15:
                return int(value)
    return 0
