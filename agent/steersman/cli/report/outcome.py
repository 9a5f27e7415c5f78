"""What became of one run, or of a file that could not be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steersman.cli.report.episodes import Fired, fired
from steersman.cli.words import effect
from steersman.rules.finding import Severity
from steersman.rules.replay import Replay
from steersman.rules.sentences import headline
from steersman.rules.verdict import Verdict

QUIET = (Verdict.HEALTHY, Verdict.UNDETERMINED, Verdict.TOO_SHORT)
"""Verdicts on a run in which nothing loud fires at its end."""


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

    def fired(self) -> list[Fired]:
        """Every rule that fired, whether or not it still does; the loudest first."""
        return fired(self.replay.changes, self.replay.engine.findings()) if self.replay is not None else []

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader guessed or left out, and the rules that were too slow to be heard."""
        if self.replay is None:
            return ()
        return (*self.replay.recording.notes, *map(str, self.replay.engine.stopped))

    @property
    def sentences(self) -> list[str]:
        """All that is said of it in words."""
        if self.replay is None:
            return []
        said = self.replay.diagnosis
        words = [*said.evidence_for, *said.evidence_against, *(told.finding.summary for told in self.fired())]
        if said.prescription is not None and (e := said.prescription.expected) is not None:
            words.append(effect(e.nats, e.low, e.high, e.jobs))
        return words

    @property
    def severity(self) -> str | None:
        """Of the loudest finding; None where there is none."""
        found = self.fired()
        return found[0].finding.severity.value if found else None

    @property
    def headline(self) -> str:
        """The verdict in words, and what was louder than that and is over."""
        if self.replay is None:
            return ""
        said, found = self.replay.diagnosis, self.fired()
        if said.verdict not in QUIET or not found or found[0].finding.severity is Severity.INFO:
            return said.headline
        return f"{said.headline}; earlier: {headline(Verdict(found[0].finding.verdict))}"

    @property
    def runbook(self) -> str:
        """What to do about it, by the rules behind the verdict; empty where they say nothing or nothing is wrong."""
        if self.replay is None or self.replay.diagnosis.verdict in QUIET:
            return ""
        books = {rule.name: rule.runbook for rule in self.replay.engine.pack.rules}
        return next((book for name in self.replay.diagnosis.rules if (book := books.get(name))), "")

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
        "findings": [_finding(told) for told in outcome.fired()],
        "for": said.evidence_for,
        "against": said.evidence_against,
        "prescription": said.prescription,
        "lr_is_the_lever": said.lr_is_the_lever,
        "would_refute": said.would_refute,
        "what_to_do": outcome.runbook or None,
        "format": recording.format,
        "read_as": recording.read_as,
        "planned_steps": recording.facts.planned_steps or None,
        "optimizer": recording.facts.optimizer or None,
        "notes": outcome.notes,
    }


def _finding(told: Fired) -> dict[str, Any]:
    finding = told.finding
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "first_step": finding.first_step,
        "last_step": finding.last_step,
        "evidence": {e.name: e.value for e in finding.evidence},
        "episodes": [
            {"first_step": e.first_step, "last_step": e.last_step, "severity": e.severity.value} for e in told.episodes
        ],
    }
