"""The rules in force, and an engine over them for each job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from steersman.monitor.engine import JobEngine
from steersman.monitor.facts import Facts
from steersman.monitor.probation import Expectation
from steersman.rules.budget import StoppedRule
from steersman.rules.engine import Engine, JobFacts, Pack, load_pack, shipped_pack
from steersman.rules.finding import Finding
from steersman.rules.samples import Samples
from steersman.rules.verdict import Diagnosis

_NODES = 9


class RulebookEngine:
    """One job's engine, as the daemon asks for it.

    Args:
        engine: the rules' own.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def feed(self, samples: Samples) -> Sequence[Finding]:
        """See `JobEngine`."""
        return self._engine.feed(samples)

    def note_adjustment(self, step: int, factor: float) -> None:
        """See `JobEngine`."""
        self._engine.note_adjustment(step, factor)

    def findings(self) -> Sequence[Finding]:
        """See `JobEngine`."""
        return self._engine.findings()

    def stopped(self) -> Sequence[StoppedRule]:
        """See `JobEngine`."""
        return self._engine.stopped

    def diagnose(self) -> Diagnosis:
        """See `JobEngine`."""
        return self._engine.diagnose()

    def expectation(self, step: int, steps: int) -> Expectation | None:
        """See `JobEngine`."""
        nodes = sorted({max(1, round(i * steps / (_NODES - 1))) for i in range(_NODES)})
        told = [self._engine.forecast(node) for node in nodes]
        known = [(node, f) for node, f in zip(nodes, told, strict=True) if f is not None]
        if not known:
            return None
        return Expectation(
            tuple(step + node for node, _ in known),
            tuple(f.value for _, f in known),
            tuple(f.high for _, f in known),
            0.0,
        )

    def snapshot(self) -> bytes:
        """See `JobEngine`."""
        return self._engine.snapshot()


class Rulebook:
    """Makes engines.

    Args:
        pack: the rules.
        files: where they come from.
    """

    def __init__(self, pack: Pack, files: Sequence[str]) -> None:
        self._pack = pack
        self._files = tuple(files)

    @classmethod
    def load(cls, paths: Sequence[Path] = ()) -> Rulebook:
        """The shipped pack and the user's own files.

        Raises:
            PackError: with every mistake in every file.
        """
        sources = [shipped_pack(), *paths]
        files = [f for s in sources for f in (sorted(s.glob("*.yaml")) if s.is_dir() else [s])]
        return cls(load_pack(sources), [str(f) for f in files])

    @property
    def rules(self) -> int:
        """How many rules are in force."""
        return len(self._pack)

    @property
    def files(self) -> Sequence[str]:
        """The files they come from."""
        return self._files

    def new(self, facts: Facts) -> JobEngine:
        """An engine for a job that begins."""
        return RulebookEngine(Engine(self._pack, _job_facts(facts)))

    def restore(self, facts: Facts, snapshot: bytes) -> JobEngine:
        """An engine that goes on from a snapshot."""
        return RulebookEngine(Engine.restore(self._pack, _job_facts(facts), snapshot))


def _job_facts(facts: Facts) -> JobFacts:
    optimizer = facts.optimizer
    return JobFacts(
        optimizer=optimizer.class_name if optimizer else "",
        planned_steps=facts.planned_steps,
        joined=facts.way_in == "attach",
    )
