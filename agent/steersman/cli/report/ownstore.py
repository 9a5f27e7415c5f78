"""The runs that a daemon has in its store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from steersman.rules.facts import JobFacts
from steersman.rules.readers import ReadError, Wishes, mlflowdb
from steersman.rules.readers.assemble import assemble
from steersman.rules.readers.naming import is_role
from steersman.rules.readers.reading import Log
from steersman.rules.readers.table import Table, from_points
from steersman.rules.recording import Recording
from steersman.rules.samples import Samples


def is_database(path: Path) -> bool:
    """Whether a file is an SQLite database, as a daemon's store is."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(mlflowdb.MARK)) == mlflowdb.MARK
    except OSError:
        return False


def is_store(path: Path) -> bool:
    """Whether a database is a store of Steersman's, or may be one, for it cannot be looked into."""
    found, problem = mlflowdb.look(path)
    return "attempt" in found or bool(problem)


def read_store(path: Path, source: str, wishes: Wishes) -> list[Recording]:
    """The attempts in a store that have a loss.

    Raises:
        ReadError: what stands in the way, and what to do.
    """
    try:
        from steersman.monitor.errors import StoreError
        from steersman.monitor.laidon import laid_on
        from steersman.monitor.store.readonly import recorded
    except ModuleNotFoundError as error:
        raise ReadError(
            f"it is an SQLite database, and reading a store needs {error.name}: pip install 'steersman[monitor]'"
        ) from None
    found, problem = mlflowdb.look(path)
    if problem:
        raise ReadError(f"an SQLite database that cannot be looked into ({problem}): stop what writes it, or copy it")
    if "attempt" not in found:
        raise ReadError("it is an SQLite database, but no store of Steersman's")
    runs = []
    try:
        for each in recorded(path):
            job, series = each.job, each.series
            if not series:
                continue
            table = _table(series)
            known = {name: name for name in table.columns if is_role(name)} | {"step": "step", "time": "wall_time"}
            name = job.name if job.attempt == 1 else f"{job.name} (attempt {job.attempt})"
            log = Log(name, table, _facts(job.facts), known=known, exact=True)
            run = assemble(source, name, "steersman", log, wishes)
            try:
                hands = laid_on(each.adjustments, each.ledger, partial(_own_lr, series))
            except ValueError as error:
                hands, told = [], [f"what Steersman did to its learning rate is not known: {error}"]
            else:
                told = [f"adjusted at step {step:,}: the learning rate x {factor:.3g}" for step, factor in hands]
            runs.append(replace(run, adjustments=tuple(hands), notes=(*run.notes, *told)))
    except StoreError as error:
        raise ReadError(str(error)) from None
    if not runs:
        raise ReadError("no job in this store has a loss yet")
    return runs


def _table(series: Mapping[str, Samples]) -> Table:
    """All series of a rank: rows of one step and one time are one row."""
    every = np.unique(np.concatenate([samples.times for samples in series.values()]))
    placed = {}
    for name, samples in series.items():
        column = samples.columns[name]
        shown = column.present
        order = np.searchsorted(every, samples.times[shown])
        placed[name] = (
            order.tolist(),
            samples.steps[shown].tolist(),
            column.values[shown].tolist(),
            samples.times[shown].tolist(),
        )
    return from_points(placed)


def _own_lr(series: Mapping[str, Samples], step: int) -> float:
    """The job's own LR at a step: what the optimizer had before anything was laid on it."""
    for name in ("own_lr/0", "lr/0"):
        samples = series.get(name)
        if samples is not None:
            column = samples.columns[name]
            before = np.flatnonzero(column.present & (samples.steps <= step))
            if len(before):
                return float(column.values[before[-1]])
    return math.nan


def _facts(said: Mapping[str, object]) -> JobFacts:
    planned = said.get("planned_steps")
    ranks = said.get("ranks")
    optimizer = ""
    for _, rank in sorted(ranks.items()) if isinstance(ranks, dict) else ():
        optimizers = rank.get("optimizers") if isinstance(rank, dict) else None
        if optimizers and isinstance(optimizers[0], dict):
            optimizer = str(optimizers[0].get("class_name", ""))
            break
    return JobFacts(optimizer, planned if isinstance(planned, int) else 0, joined=said.get("way_in") == "attach")
