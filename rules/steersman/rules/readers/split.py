"""Several runs, or several parts of the data, in one table."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from steersman.rules.readers.names import HELD_OUT, LOSS, PHASE, RUN, plain
from steersman.rules.readers.reading import Log
from steersman.rules.readers.table import Table, texts_of
from steersman.rules.samples import Column

MAX_RUNS = 1000
"""Runs of one file at most."""

_PAIRED = re.compile(r"^(.*?)[_/.-]?(\d)$")


def split(log: Log) -> list[Log]:
    """The runs in a log, each by itself; rows that speak of held-out data under names that say so."""
    parts: list[Log] = []
    for one in _by_run(dataclasses.replace(log, table=_by_phase(log.table))):
        parts += _by_export(one)
    return [single for part in parts for single in _by_optimizer(part)]


def _by_phase(table: Table) -> Table:
    """Where a column says `val` of some rows, their `loss` becomes `val/loss`."""
    found = texts_of(table, PHASE)
    if found is None:
        return table
    words = np.array([plain(w or "") for w in found[1]])
    held = {str(word) for word in np.unique(words)} & HELD_OUT
    if not held or not (~np.isin(words, list(held))).any():
        return table
    columns: dict[str, Column] = {}
    for name, column in table.columns.items():
        if plain(name) not in LOSS:
            columns[name] = column
            continue
        for word in sorted(held):
            mine = words == word
            columns[f"{word}/{name}"] = Column(column.values, column.present & mine)
        columns[name] = Column(column.values, column.present & ~np.isin(words, list(held)))
    return Table(table.rows, {n: c for n, c in columns.items() if c.present.any()}, table.texts)


def _by_run(log: Log) -> list[Log]:
    found = texts_of(log.table, RUN)
    if found is None:
        return [log]
    names = list(dict.fromkeys(word for word in found[1] if word))
    if not 1 < len(names) <= min(MAX_RUNS, log.table.rows // 2):
        return [log]
    words = np.array([word or "" for word in found[1]])
    return [dataclasses.replace(log, name=name, table=log.table.pick(words == name)) for name in names]


def _by_export(log: Log) -> list[Log]:
    """A tracker's chart saved as CSV has a column a run: `NAME - train/loss`, with `__MIN` and `__MAX` beside it."""
    runs: dict[str, dict[str, Column]] = {}
    shared: dict[str, Column] = {}
    for name, column in log.table.columns.items():
        run, dash, metric = name.rpartition(" - ")
        if not dash or not run:
            shared[name] = column
        elif not metric.endswith(("__MIN", "__MAX", "_step")):
            runs.setdefault(run, {})[metric] = column
    if not runs or len(runs) > MAX_RUNS or not any(_is_loss(name) for columns in runs.values() for name in columns):
        return [log]
    return [
        dataclasses.replace(log, name=run, table=_dense(Table(log.table.rows, {**shared, **columns}), columns))
        for run, columns in runs.items()
    ]


def _dense(table: Table, own: Mapping[str, Column]) -> Table:
    kept = np.zeros(table.rows, dtype=np.bool_)
    for column in own.values():
        kept |= column.present
    return table.pick(kept)


def _by_optimizer(log: Log) -> list[Log]:
    """Where a log has `loss_0`, `lr_0` and `loss_1`, `lr_1`, and no loss of the whole, each optimizer is a run."""
    if any(_is_loss(name) for name in log.table.columns):
        return [log]
    numbered: dict[str, dict[str, str]] = {}
    shared: dict[str, Column] = {}
    for name, column in log.table.columns.items():
        found = _PAIRED.match(name)
        if found is None or not found[1]:
            shared[name] = column
        else:
            numbered.setdefault(found[2], {})[found[1]] = name
    optimizers = [
        number
        for number, columns in numbered.items()
        if any(_is_loss(base) for base in columns)
        and any(plain(base) in ("grad_norm", "current_lr", "lr", "learning_rate") for base in columns)
    ]
    if len(optimizers) < 2:
        return [log]
    parts = []
    for number in sorted(optimizers):
        own = {base: log.table.columns[name] for base, name in numbered[number].items()}
        table = Table(log.table.rows, {**shared, **own}, log.table.texts)
        words = f"of the losses numbered {number}, with the norm and the learning rate of that optimizer"
        name = f"{log.name} optimizer {number}".strip()
        parts.append(dataclasses.replace(log, name=name, table=_dense(table, own), notes=(*log.notes, words)))
    return parts


def _is_loss(name: str) -> bool:
    return plain(name) in LOSS
