"""Which column of a log is what: told by the user, known by name, or guessed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from steersman.rules.readers import names
from steersman.rules.readers.names import plain
from steersman.rules.readers.reading import ReadError
from steersman.rules.readers.table import Table
from steersman.rules.samples import Column

MAX_SETS = 16
"""Validation sets taken at most; the rules follow no more."""

MAX_GROUPS = 32
"""Learning rates taken at most."""

ROLES = ("step", "epoch", "time", "loss", "grad_norm", "lr", "lr/GROUP", "val_loss", "val_loss/SET", *names.OTHERS)
"""What a column can be read as."""


@dataclass(frozen=True)
class Naming:
    """What each series is called in a log.

    Attributes:
        chosen: the log's own name by series, `step`, `epoch` and `time` among them.
        notes: what was guessed, a sentence each.
    """

    chosen: Mapping[str, str]
    notes: Sequence[str] = field(default=())


def is_role(name: str) -> bool:
    """Whether a series may be told by `--column`."""
    return name in ROLES or (name.partition("/")[0] in ("lr", "val_loss") and bool(name.partition("/")[2]))


def decide(table: Table, told: Mapping[str, str]) -> Naming:
    """Say which column is what.

    Args:
        table: the log.
        told: what the user says; goes before everything else.

    Raises:
        ReadError: what the user says is not there, or no column reads as a loss.
    """
    columns = table.columns
    for role, name in told.items():
        if name and name not in columns:
            raise ReadError(f"there is no column {name!r} to read as {role}; {_there_are(columns, name)}")
    chosen = {role: name for role, name in told.items() if name}
    notes: list[str] = []
    used = set(chosen.values())
    free = {name: column for name, column in columns.items() if name not in used and column.present.any()}
    _guess_train(free, chosen, told, notes)
    _guess_sets(free, chosen, told)
    for series, known in names.OTHERS.items():
        if series not in told and (found := _known(free, known)) is not None:
            chosen[series] = found
    _guess_rates(free, chosen, told)
    if "loss" not in chosen and "loss" not in told and not any(role.startswith("val_loss") for role in chosen):
        raise ReadError(f"no column reads as a loss; {_there_are(columns)}; say which with --column loss=NAME")
    _guess_axis(free, chosen, told)
    return Naming(chosen, notes)


def _guess_train(free: Mapping[str, Column], chosen: dict[str, str], told: Mapping[str, str], notes: list[str]) -> None:
    if "loss" not in told:
        found = _known(free, names.LOSS, most=True)
        if found is None and (possible := [name for name in free if names.is_some_loss(name)]):
            found = max(possible, key=lambda name: (_points(free[name]), -len(name)))
            if len(possible) > 1:
                others = ", ".join(repr(name) for name in possible if name != found)
                notes.append(f"{found!r} is a guess for the loss, there are also {others[:300]}: --column loss=NAME")
        if found is not None:
            chosen["loss"] = found
    if "grad_norm" not in told:
        found = _known(free, names.GRAD_NORM)
        if found is None:
            possible = [name for name in free if names.is_some_norm(name)]
            found = possible[0] if len(possible) == 1 else None
        if found is not None:
            chosen["grad_norm"] = found


def _guess_sets(free: Mapping[str, Column], chosen: dict[str, str], told: Mapping[str, str]) -> None:
    if any(role.startswith("val_loss") for role in told):
        return
    taken = set(chosen.values())
    sets: dict[str, str] = {}
    for name in free:
        if name in taken or (of := names.loss_set(name)) is None:
            continue
        # Where an evaluation is logged by batch and as a whole, the whole counts.
        if of in sets and not plain(name).endswith("epoch"):
            continue
        sets[of] = name
    if any(of.split("_")[0] != "test" for of in sets):
        sets = {of: name for of, name in sets.items() if of != "test"}
    if len(sets) == 1:
        chosen["val_loss"] = next(iter(sets.values()))
        return
    for of, name in list(sets.items())[:MAX_SETS]:
        chosen[f"val_loss/{of}" if of else "val_loss"] = name


def _guess_rates(free: Mapping[str, Column], chosen: dict[str, str], told: Mapping[str, str]) -> None:
    if any(role.partition("/")[0] == "lr" for role in told):
        return
    taken = set(chosen.values())
    if (found := _known(free, names.LEARNING_RATE)) is not None:
        chosen["lr/0"] = found
        return
    count = 0
    for name in free:
        if name not in taken and (group := names.rate_group(name)) is not None and f"lr/{group}" not in chosen:
            chosen[f"lr/{group}"] = name
            count += 1
            if count >= MAX_GROUPS:
                break


def _guess_axis(free: Mapping[str, Column], chosen: dict[str, str], told: Mapping[str, str]) -> None:
    taken = set(chosen.values())
    free = {name: column for name, column in free.items() if name not in taken}
    lead = chosen.get("loss") or next((n for role, n in chosen.items() if role.startswith("val_loss")), None)
    if "step" not in told:
        by_name = {plain(name): name for name in reversed(free)}
        for known in names.STEP:
            if (name := by_name.get(known)) is not None and _covers(free[name], free.get(lead or "")):
                chosen["step"] = name
                break
    if "epoch" not in told and (epoch := _known(free, names.EPOCH)) is not None:
        chosen["epoch"] = epoch
    if "time" not in told:
        for known in names.TIME:
            found = next((n for n in free if plain(n) == known), None)
            if found is not None and _is_clock(free[found]):
                chosen["time"] = found
                break


def _covers(step: Column, lead: Column | None) -> bool:
    if lead is None:
        return bool(step.present.any())
    both = int((step.present & lead.present).sum())
    # An evaluation may be written without its step; a step that most losses lack is another's.
    return both * 2 >= int(lead.present.sum()) and bool(np.isfinite(step.values[step.present]).all())


def _is_clock(column: Column) -> bool:
    values = column.values[column.present]
    return bool(len(values)) and bool(((values > 1e8) & (values < 1e11)).all())


def _points(column: Column) -> int:
    return int(column.present.sum())


def _known(free: Mapping[str, Column], known: Sequence[str], most: bool = False) -> str | None:
    """The column with the surest of the known names; `most`: among those with at least half of the most points."""
    by_name: dict[str, str] = {}
    for name in free:
        by_name.setdefault(plain(name), name)
    found = [by_name[name] for name in known if name in by_name]
    if most and found:
        top = max(_points(free[name]) for name in found)
        found = [name for name in found if 2 * _points(free[name]) >= top]
    return found[0] if found else None


def _there_are(columns: Iterable[str], near: str = "") -> str:
    listed = [name for name in columns if len(name) <= 80]
    if not listed:
        return "it has no column of numbers"
    close = difflib.get_close_matches(near, listed, 3) if near else []
    shown = close or listed[:12]
    words = ", ".join(repr(name) for name in shown)
    return f"did you mean {words}?" if close else f"there are {words}{' …' if len(listed) > len(shown) else ''}"
