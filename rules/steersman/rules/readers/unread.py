"""Columns that nothing reads, where what they may be is missing."""

from __future__ import annotations

from collections.abc import Mapping

from steersman.rules.readers.names import EPOCH, HELD_OUT, LOSS, PLANNED, STEP, TIME, is_some_loss, plain, words_of
from steersman.rules.samples import Column

_NAMED = 5
_WANTED = {"lr": "the learning rate", "grad_norm": "the gradient norm", "val_loss": "a validation loss"}
"""What the rules can do most with, by series."""
_KNOWN = frozenset((*STEP, *EPOCH, *TIME, *PLANNED, *LOSS))
_OTHER = {
    "time", "runtime", "elapsed", "duration", "sec", "secs", "second", "seconds", "ms", "eta", "per", "speed", "fps",
    "throughput", "samples", "sample", "tokens", "token", "memory", "mem", "gpu", "cpu", "flos", "flops", "tflops",
    "mfu", "epoch", "acc", "accuracy", "f1", "bleu", "ppl", "perplexity", "seed", "rank", "count",
    "percent", "percentage", "wer", "cer",
}  # fmt: skip
"""Words of names that are none of these: to list them in each report would hide those that may be."""


def unread(columns: Mapping[str, Column], chosen: Mapping[str, str], told: Mapping[str, str]) -> list[str]:
    """A sentence that names columns nobody reads and says how to tell what they are; none where all is well.

    Args:
        columns: of the log.
        chosen: the log's own name by series.
        told: the same as the user says it; a series that is left out there is not missed.
    """
    read = {role.partition("/")[0] for role in (*chosen, *told)}
    lacking = [series for series in _WANTED if series not in read]
    taken = set(chosen.values())
    names = [name for name in columns if name not in taken and _may_be_wanted(name, columns[name])]
    if lacking == ["val_loss"]:
        # Most jobs have none, and what else they log is no news.
        names = [name for name in names if HELD_OUT & set(words_of(name))]
    if not lacking or not names:
        return []
    shown = ", ".join(repr(name[:80]) for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    wanted = " or ".join(_WANTED[series] for series in lacking)
    options = " ".join(f"--column {series}=NAME" for series in lacking)
    return [f"not read: {shown}{more}; where {wanted} is among them: {options}"]


def _may_be_wanted(name: str, column: Column) -> bool:
    known = plain(name)
    # "eta" is the time that is left in as many logs as it is the learning rate.
    other = known != "eta" and bool(_OTHER & set(words_of(name)))
    return bool(column.present.any()) and known not in _KNOWN and not is_some_loss(name) and not other
