"""Each time that a rule fired in a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from steersman.rules.finding import Finding, FindingState, Severity

RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
"""How loud a severity is."""


@dataclass(frozen=True)
class Episode:
    """From the step at which a rule fired to the last at which its condition held.

    Attributes:
        first_step: see `Finding`.
        last_step: see `Finding`.
        severity: see `Severity`.
    """

    first_step: int
    last_step: int
    severity: Severity


@dataclass(frozen=True)
class Fired:
    """A rule that fired.

    Attributes:
        finding: as it stood in its last episode, with the severity of the loudest.
        episodes: the oldest first; at least one.
    """

    finding: Finding
    episodes: tuple[Episode, ...]

    @property
    def over(self) -> bool:
        """Whether it no longer fires."""
        return self.finding.state is FindingState.RESOLVED


def fired(changes: Iterable[Finding], last: Iterable[Finding]) -> list[Fired]:
    """The rules that fired, whether or not they still do; the loudest first.

    Args:
        changes: every change of a finding's state, in order.
        last: the findings after the last row.
    """
    episodes: dict[str, list[Finding]] = {}
    for finding in changes:
        if finding.state is FindingState.FIRING:
            episodes.setdefault(finding.rule, []).append(finding)
        # A rule that was only pending is resolved, too, and has no episode open.
        elif finding.state is FindingState.RESOLVED and (mine := episodes.get(finding.rule)) and _open(mine[-1]):
            mine[-1] = finding
    for finding in last:
        if finding.state is FindingState.FIRING and finding.rule in episodes:
            episodes[finding.rule][-1] = finding
    return sorted(map(_together, episodes.values()), key=lambda f: (-RANK[f.finding.severity], f.finding.first_step))


def _open(finding: Finding) -> bool:
    return finding.state is FindingState.FIRING


def _together(findings: list[Finding]) -> Fired:
    loudest = max((f.severity for f in findings), key=RANK.__getitem__)
    told = tuple(Episode(f.first_step, f.last_step, f.severity) for f in findings)
    return Fired(replace(findings[-1], severity=loudest), told)
