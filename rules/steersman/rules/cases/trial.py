"""Runs cases through the live engine, and says where it did something else than was expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from steersman.rules.cases.case import ANY_RULE, Case, CaseFile, Expected
from steersman.rules.engine import Engine
from steersman.rules.finding import Finding, FindingState, Severity
from steersman.rules.packs import Pack, load_pack

_LOUDNESS = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
_SHOWN = 8


@dataclass(frozen=True)
class Change:
    """A rule came into a state."""

    step: int
    state: FindingState
    severity: Severity

    def __str__(self) -> str:
        loud = f" ({self.severity})" if self.state is FindingState.FIRING else ""
        return f"{self.state} at {self.step}{loud}"


@dataclass(frozen=True)
class Failure:
    """Something that was expected and did not come.

    Attributes:
        about: the rule, or `diagnosis`.
        expected: in words.
        got: in words, with steps.
        line: where it was expected, in the file.
        column: where in that line.
    """

    about: str
    expected: str
    got: str
    line: int
    column: int


@dataclass(frozen=True)
class Tried:
    """What came of one case.

    Attributes:
        case: what was tried.
        failures: empty where all came as expected.
        changes: of each rule that moved at all, by name.
    """

    case: Case
    failures: tuple[Failure, ...]
    changes: dict[str, list[Change]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether all came as expected."""
        return not self.failures


def try_file(file: CaseFile) -> list[Tried]:
    """Run all cases of a file, with the rules that it names."""
    pack = load_pack(file.rules)
    return [try_case(case, pack) for case in file.cases]


def try_case(case: Case, pack: Pack) -> Tried:
    """Run one case with an engine of its own."""
    engine = Engine(pack, case.facts)
    for step, factor in case.adjusted:
        engine.note_adjustment(step, factor)
    samples = case.samples()
    failures: list[Failure] = []
    found: list[Finding] = []
    at = 0
    for wanted in sorted(case.diagnoses, key=lambda d: d.at):
        stop = int(np.searchsorted(samples.steps, wanted.at, side="right"))
        found += engine.feed(samples.rows(at, stop))
        at = stop
        said = engine.diagnose()
        if said.verdict is not wanted.verdict:
            behind = f", because of {', '.join(said.rules)}" if said.rules else ""
            failures.append(
                Failure(
                    "diagnosis",
                    f"{wanted.verdict} at step {wanted.at}",
                    f"{said.verdict}{behind}",
                    wanted.line,
                    wanted.column,
                )
            )
    found += engine.feed(samples.rows(at, len(samples)))
    changes: dict[str, list[Change]] = {}
    for f in found:
        # The time of a row is its step.
        changes.setdefault(f.rule, []).append(Change(int(f.since), f.state, f.severity))
    for expected in case.expected:
        got = _judge(expected, changes)
        if got:
            failures.append(Failure(expected.rule, in_words(expected), got, expected.line, expected.column))
    failures += [Failure(s.rule, "to be evaluated throughout", str(s), case.line, 1) for s in engine.stopped]
    failures.sort(key=lambda f: (f.line, f.column))
    return Tried(case, tuple(failures), changes)


def in_words(expected: Expected) -> str:
    """What is expected, as a person would say it.

    >>> in_words(Expected("spike", by=310, after=300, severity=Severity.INFO))
    'firing between step 300 and step 310, info'
    """
    if expected.never:
        louder = f" at {expected.severity} or louder" if expected.severity not in (None, Severity.INFO) else ""
        return f"never {expected.state}{louder}"
    if expected.at >= 0:
        when = f"at step {expected.at}"
    elif expected.after:
        when = f"between step {expected.after} and step {expected.by}"
    else:
        when = f"by step {expected.by}"
    return f"{expected.state} {when}" + (f", {expected.severity}" if expected.severity else "")


def _judge(expected: Expected, changes: dict[str, list[Change]]) -> str:
    if expected.rule == ANY_RULE:
        found = {rule: _loud(expected, mine) for rule, mine in changes.items()}
        return "; ".join(f"{rule} {_list(mine)}" for rule, mine in found.items() if mine)
    mine = changes.get(expected.rule, [])
    if expected.never:
        loud = _loud(expected, mine)
        return _list(loud) if loud else ""
    if expected.at >= 0:
        before = [c for c in mine if c.step <= expected.at]
        state = before[-1].state if before else FindingState.INACTIVE
        right = state is expected.state and _severity_fits(expected, before[-1:])
        return "" if right else f"{state} at step {expected.at}; {_list(mine)}"
    if expected.state is FindingState.INACTIVE and expected.after == 0:
        return ""
    entered = [c for c in mine if c.state is expected.state]
    right = bool(entered) and expected.after <= entered[0].step <= expected.by and _severity_fits(expected, entered[:1])
    return "" if right else _list(mine)


def _severity_fits(expected: Expected, changes: Sequence[Change]) -> bool:
    return expected.severity is None or any(c.severity is expected.severity for c in changes)


def _loud(expected: Expected, changes: Sequence[Change]) -> list[Change]:
    least = _LOUDNESS[expected.severity or Severity.INFO]
    return [c for c in changes if c.state is expected.state and _LOUDNESS[c.severity] >= least]


def _list(changes: Sequence[Change]) -> str:
    if not changes:
        return "nothing: it stayed inactive"
    more = f", and {len(changes) - _SHOWN} more changes" if len(changes) > _SHOWN else ""
    return ", ".join(map(str, changes[:_SHOWN])) + more
