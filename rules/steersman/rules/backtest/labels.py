"""What somebody has said of recorded runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from steersman.rules.language.document import did_you_mean
from steersman.rules.language.mistake import Mistake, PackError
from steersman.rules.recording import Recording
from steersman.rules.verdict import Verdict

QUIET = frozenset({Verdict.HEALTHY, Verdict.UNDETERMINED, Verdict.TOO_SHORT})
"""Verdicts that raise no alarm."""

_V = Verdict
_RIGHT: dict[Verdict, frozenset[Verdict]] = {
    _V.DIVERGED: frozenset(
        {_V.DIVERGED, _V.LR_TOO_HIGH, _V.WARMUP_TOO_SHORT, _V.GRADIENT_EXPLOSION, _V.PRECISION_OVERFLOW, _V.NONFINITE}
    ),
    _V.NONFINITE: frozenset({_V.NONFINITE, _V.PRECISION_OVERFLOW, _V.DIVERGED}),
    _V.LR_TOO_HIGH: frozenset({_V.LR_TOO_HIGH, _V.DIVERGED, _V.WARMUP_TOO_SHORT, _V.GRADIENT_EXPLOSION}),
    _V.GRADIENT_EXPLOSION: frozenset({_V.GRADIENT_EXPLOSION, _V.LR_TOO_HIGH, _V.DIVERGED}),
    _V.GRADIENT_VANISHING: frozenset({_V.GRADIENT_VANISHING, _V.LR_TOO_LOW}),
    _V.PLATEAU: frozenset({_V.PLATEAU, _V.LR_TOO_LOW, _V.UNDERFITTING, _V.DECAY_TOO_EARLY, _V.BAD_DATA}),
}
"""Verdicts that are right of a run labelled with the first: one fault shows in more than one way."""

_OTHER_WORDS = {
    "grad_explosion": Verdict.GRADIENT_EXPLOSION,
    "grad_vanish": Verdict.GRADIENT_VANISHING,
    "oscillating_lr_too_high": Verdict.LR_TOO_HIGH,
    "spike_recovered": Verdict.SPIKE,
    "spike_unrecovered": Verdict.SPIKE,
    "too_short_to_tell": Verdict.TOO_SHORT,
}
_ALSO_RIGHT = {"spike_unrecovered": frozenset({Verdict.DIVERGED, Verdict.LR_TOO_HIGH})}

_COLUMNS = {
    "id": "run",
    "source": "run",
    "run": "run",
    "verdict": "verdict",
    "primary": "verdict",
    "secondary": "secondary",
    "onset": "onset",
    "onset_step": "onset",
    "confidence": "confidence",
}


@dataclass(frozen=True)
class Label:
    """What a person says is wrong with a run.

    Attributes:
        run: its name, or the path (or end of the path) of its log, with or without suffix.
        verdict: what is wrong with it, or healthy.
        right: all verdicts that are right of it.
        onset: the step at which it began, None where nobody said.
        confidence: of the person, 0 to 1.
    """

    run: str
    verdict: Verdict
    right: frozenset[Verdict]
    onset: int | None = None
    confidence: float = 1.0

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong with the run."""
        return self.verdict is Verdict.HEALTHY


def read_labels(path: Path) -> list[Label]:
    """Read a CSV file with the columns `id` (or `source`) and `verdict` (or `primary`), and as they are there
    `secondary` (several, between `;`), `onset_step` and `confidence`; other columns are left alone.

    Raises:
        PackError: with every mistake in it.
    """
    mistakes: list[Mistake] = []
    labels: list[Label] = []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise PackError([Mistake(str(path), 1, 1, "", f"cannot be read: {reason}")]) from None
    rows = csv.reader(io.StringIO(text))
    names = [_COLUMNS.get(name.strip(), "") for name in next(rows, [])]
    for needed, words in (("run", "'id' or 'source'"), ("verdict", "'verdict' or 'primary'")):
        if needed not in names:
            mistakes.append(Mistake(str(path), 1, 1, "", f"the first line names no column {words}"))
    if mistakes:
        raise PackError(mistakes)
    seen: dict[str, int] = {}
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        line = rows.line_num
        try:
            label = _label({name: cell.strip() for name, cell in zip(names, row, strict=False) if name})
            if label.run in seen:
                raise ValueError(f"{label.run!r} stands on line {seen[label.run]} already")
            seen[label.run] = line
            labels.append(label)
        except ValueError as error:
            mistakes.append(Mistake(str(path), line, 1, "", str(error)))
    if mistakes:
        raise PackError(mistakes)
    return labels


def _label(row: Mapping[str, str]) -> Label:
    if not row.get("run"):
        raise ValueError("the run has no id")
    words = [row.get("verdict", ""), *(w.strip() for w in row.get("secondary", "").split(";") if w.strip())]
    verdicts = [_verdict(word) for word in words]
    right = set(_RIGHT.get(verdicts[0], {verdicts[0]})) | set(verdicts[1:])
    for word in words:
        right |= _ALSO_RIGHT.get(word, frozenset())
    onset, confidence = row.get("onset", ""), row.get("confidence", "")
    return Label(
        row["run"],
        verdicts[0],
        frozenset(right),
        int(_number(onset, "onset", 0.0, 2.0**53)) if onset else None,
        _number(confidence, "confidence", 0.0, 1.0) if confidence else 1.0,
    )


def _verdict(word: str) -> Verdict:
    if word in _OTHER_WORDS:
        return _OTHER_WORDS[word]
    try:
        return Verdict(word)
    except ValueError:
        known = [v.value for v in Verdict]
        raise ValueError(
            f"unknown verdict {word!r}{did_you_mean(word, known)}; allowed are {', '.join(known)}"
        ) from None


def _number(text: str, what: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise ValueError(f"{what} must be a number from {low:g} to {high:g}, found {text!r}")
    return value


class LabelBook:
    """Finds the label of a run.

    Args:
        labels: all there are.
    """

    def __init__(self, labels: Sequence[Label]) -> None:
        self._by_name = {label.run: label for label in labels}
        self._found: set[str] = set()

    def find(self, recording: Recording) -> Label | None:
        """By the whole path, its end, the file's name with or without suffix, or the run's own name."""
        parts = PurePath(recording.source).parts
        ends = ["/".join(parts[k:]) for k in range(len(parts))]
        for name in (recording.source, *ends, *(e.rpartition(".")[0] for e in ends), recording.name):
            if name and name in self._by_name:
                self._found.add(name)
                return self._by_name[name]
        return None

    def unused(self) -> list[str]:
        """The labels, by what they call their run, of which no run was looked for with success."""
        return [name for name in self._by_name if name not in self._found]
