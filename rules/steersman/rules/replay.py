"""A recorded run, fed to the live engine as its rows would have arrived."""

from __future__ import annotations

from dataclasses import dataclass

from steersman.rules.engine import Engine
from steersman.rules.finding import Finding
from steersman.rules.packs import Pack
from steersman.rules.recording import Recording
from steersman.rules.verdict import Diagnosis


@dataclass(frozen=True)
class Replay:
    """What the engine made of a run.

    Attributes:
        recording: the run.
        engine: as it stood after the last row.
        changes: every change of a finding's state, in order.
        diagnosis: at the last row.
    """

    recording: Recording
    engine: Engine
    changes: tuple[Finding, ...]
    diagnosis: Diagnosis


def watcher(recording: Recording, pack: Pack) -> Engine:
    """The engine that waits for the first row of a run, and knows what our own hand will do to it."""
    engine = Engine(pack, recording.facts)
    for step, factor in recording.adjustments:
        engine.note_adjustment(step, factor)
    return engine


def replay(recording: Recording, pack: Pack) -> Replay:
    """Feed a run to an engine of its own. There is no hindsight: the engine is the one that watches live jobs."""
    engine = watcher(recording, pack)
    changes = engine.feed(recording.samples)
    return Replay(recording, engine, tuple(changes), engine.diagnose())
