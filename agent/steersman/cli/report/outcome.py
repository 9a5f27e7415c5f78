"""What became of one run, or of a file that could not be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steersman.rules.finding import Finding, FindingState, Severity
from steersman.rules.replay import Replay

_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


@dataclass(frozen=True)
class Outcome:
    """One line of the answer.

    Attributes:
        source: the path as given, or as found below a folder given.
        replay: None where it could not be read.
        error: what was wrong with it and what to do; empty where it was read.
    """

    source: str
    replay: Replay | None = None
    error: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return self.replay.recording.name if self.replay is not None else self.source

    def fired(self) -> list[Finding]:
        """Every finding that fired, whether or not it still does; the loudest first."""
        if self.replay is None:
            return []
        found = [f for f in self.replay.engine.findings() if f.state in (FindingState.FIRING, FindingState.RESOLVED)]
        return sorted(found, key=lambda f: (-_RANK[f.severity], f.first_step))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader guessed or left out, and the rules that were too slow to be heard."""
        if self.replay is None:
            return ()
        return (*self.replay.recording.notes, *map(str, self.replay.engine.stopped))

    @property
    def severity(self) -> str | None:
        """Of the loudest finding; None where there is none."""
        found = self.fired()
        return found[0].severity.value if found else None

    @property
    def critical(self) -> bool:
        """Whether some finding is critical."""
        return self.severity == Severity.CRITICAL.value


def as_object(outcome: Outcome) -> dict[str, Any]:
    """The documented shape of `diagnose --json`; see docs/diagnose.md."""
    if outcome.replay is None:
        return {"source": outcome.source, "error": outcome.error, "verdict": None}
    recording, said = outcome.replay.recording, outcome.replay.diagnosis
    return {
        "run": recording.name,
        "source": recording.source,
        "steps": len(recording.samples),
        "verdict": said.verdict.value,
        "confidence": said.confidence,
        "onset_step": said.onset_step,
        "recommended_lr": said.recommended_lr,
        "findings": [
            {
                "rule": f.rule,
                "severity": f.severity.value,
                "first_step": f.first_step,
                "last_step": f.last_step,
                "evidence": {e.name: e.value for e in f.evidence},
            }
            for f in outcome.fired()
        ],
        "for": said.evidence_for,
        "against": said.evidence_against,
        "prescription": said.prescription,
        "lr_is_the_lever": said.lr_is_the_lever,
        "would_refute": said.would_refute,
        "format": recording.format,
        "read_as": recording.read_as,
        "planned_steps": recording.facts.planned_steps or None,
        "optimizer": recording.facts.optimizer or None,
        "notes": outcome.notes,
    }
