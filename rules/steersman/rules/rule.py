"""One rule as its author wrote it."""

from __future__ import annotations

from dataclasses import dataclass

from steersman.rules.finding import Severity
from steersman.rules.language.condition import Condition
from steersman.rules.verdict import Verdict


@dataclass(frozen=True)
class Hold:
    """How long a condition must hold before its rule fires.

    Attributes:
        count: how many.
        checks: of checks (every fourth point); otherwise of points.
    """

    count: int = 0
    checks: bool = False


@dataclass(frozen=True)
class Prescribe:
    """What a rule would do to the learning rate.

    Attributes:
        scale: factor on the LR in force; None takes the diagnosis' recommended LR.
        over: length of the ramp in steps.
        risk: what may go wrong, one sentence.
    """

    scale: float | None
    over: int
    risk: str


@dataclass(frozen=True)
class Rule:
    """A condition over features, and what it means.

    Attributes:
        name: unique in a pack.
        expr: fires where this holds.
        unless: and this does not; where it is unknown, the finding is `info`.
        hold: for how long.
        clear: resolves a firing rule; without it, the rule resolves when `expr` no longer holds.
        severity: see `Severity`.
        verdict: what the rule speaks for.
        explain: what it says, see `Explanation`.
        evidence: names of the features that are its evidence.
        prescribe: None where the LR is not its lever.
        runbook: what to do when it fires, text or an address; empty where its author says nothing.
        docs: address of a page about it, may be empty.
        file: where it stands.
        line: where in that file.
    """

    name: str
    expr: Condition
    severity: Severity
    verdict: Verdict
    explain: str
    unless: Condition | None = None
    hold: Hold = Hold()
    clear: Condition | None = None
    evidence: tuple[str, ...] = ()
    prescribe: Prescribe | None = None
    runbook: str = ""
    docs: str = ""
    file: str = ""
    line: int = 0

    @property
    def parts(self) -> int:
        """Size of its expressions: names, numbers and operators."""
        return sum(c.parts for c in (self.expr, self.unless, self.clear) if c is not None)
