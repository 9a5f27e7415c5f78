"""What the engine says of a run while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

from steersman.rules.backtest.reach import Sight, Watch
from steersman.rules.engine import Engine, Pack, load_pack
from steersman.rules.recording import Recording

EVERY = 10
"""Rows between two looks at the diagnosis."""


@dataclass(frozen=True)
class Fired:
    """A rule began to fire."""

    step: int
    rule: str
    verdict: str
    severity: str


@dataclass(frozen=True)
class Said:
    """The diagnosis at a step; LRs are None where none was recommended, the factor where none was prescribed."""

    step: int
    verdict: str
    confidence: float
    value: float | None
    low: float | None
    high: float | None
    factor: float | None


@dataclass(frozen=True)
class Heard:
    """All that was said of one run.

    Attributes:
        fired: every time that a rule began to fire.
        said: the diagnosis every `EVERY` rows.
        rows: how many there were.
        sight: what was there for rules to read.
    """

    fired: tuple[Fired, ...]
    said: tuple[Said, ...]
    rows: int
    sight: Sight = field(default_factory=Sight)

    def at(self, step: int) -> Said:
        """What was last said by that step."""
        return next((s for s in reversed(self.said) if s.step <= step), self.said[0])


@cache
def pack(folder: str = "") -> Pack:
    """The shipped rules, or those of a folder."""
    return load_pack([Path(folder)] if folder else [])


def listen(recording: Recording) -> Heard:
    """Feed a run to the live engine, a few rows at a time."""
    engine = Engine(pack(), recording.facts)
    samples = recording.samples
    fired: list[Fired] = []
    said: list[Said] = []
    watch = Watch()
    for start in range(0, len(samples), EVERY):
        part = samples.rows(start, min(start + EVERY, len(samples)))
        for finding in engine.feed(part):
            if finding.state == "firing":
                fired.append(Fired(finding.first_step, finding.rule, finding.verdict, finding.severity.value))
        said.append(speak(engine))
        watch.look(engine.features())
    return Heard(tuple(fired), tuple(said), len(samples), watch.sight(samples, {f.rule for f in fired}))


def speak(engine: Engine) -> Said:
    """The diagnosis in short."""
    d = engine.diagnose()
    r, p = d.recommended_lr, d.prescription
    factor = None
    if p is not None:
        lr = engine.features().get("lr", 0.0)
        factor = p.value if p.kind == "scale" else p.value / lr if lr > 0 else None
    return Said(
        d.at_step,
        d.verdict.value,
        d.confidence,
        r.value if r else None,
        r.low if r else None,
        r.high if r else None,
        factor,
    )


def _many(recordings: Sequence[Recording]) -> list[Heard]:
    return [listen(r) for r in recordings]


def listen_all(recordings: Sequence[Recording], processes: int = 2) -> list[Heard]:
    """The same for many runs, several at once, in their order."""
    size = 24
    parts = [recordings[i : i + size] for i in range(0, len(recordings), size)]
    if processes < 2 or len(parts) < 2:
        return _many(recordings)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(chain.from_iterable(pool.map(_many, parts)))
