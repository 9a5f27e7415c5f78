"""What a set of rules makes of one recorded run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from steersman.rules.backtest.labels import QUIET
from steersman.rules.backtest.reach import Sight, Watch
from steersman.rules.engine import CHECK_EVERY
from steersman.rules.finding import FindingState
from steersman.rules.packs import Pack
from steersman.rules.recording import Recording
from steersman.rules.replay import watcher
from steersman.rules.verdict import Verdict


@dataclass(frozen=True)
class Outcome:
    """One run, replayed.

    Attributes:
        source: the path it was read from.
        name: for people.
        steps: optimizer steps that its rows span.
        points: its rows.
        fired: by rule, the steps at which it came to fire; rules that never did are absent.
        named: by verdict, the steps at which the diagnosis turned to it; quiet ones are absent.
        verdict: of the diagnosis at the end, what `diagnose` says.
        stopped: rules that were too slow and were switched off.
        sight: what was there for rules to read.
    """

    source: str
    name: str
    steps: int
    points: int
    fired: Mapping[str, tuple[int, ...]]
    named: Mapping[Verdict, tuple[int, ...]]
    verdict: Verdict
    stopped: tuple[str, ...] = ()
    sight: Sight = field(default_factory=Sight)


def outcome(recording: Recording, pack: Pack) -> Outcome:
    """Replay a run as its rows would have arrived; nothing is known of what comes after a row."""
    engine = watcher(recording, pack)
    samples = recording.samples
    fired: dict[str, list[int]] = {}
    named: dict[Verdict, list[int]] = {}
    verdict = Verdict.UNDETERMINED
    watch = Watch()
    for at in range(0, len(samples), CHECK_EVERY):
        changed = engine.feed(samples.rows(at, at + CHECK_EVERY))
        watch.look(engine.features())
        for finding in changed:
            if finding.state is FindingState.FIRING:
                fired.setdefault(finding.rule, []).append(finding.first_step)
        if changed:
            said = engine.diagnose()
            if said.verdict is not verdict and said.verdict not in QUIET:
                named.setdefault(said.verdict, []).append(said.at_step)
            verdict = said.verdict
    final = engine.diagnose()
    if final.verdict not in QUIET and final.verdict not in named:
        # It can turn without a finding that changes, as when a divergence is put down to the LR.
        named[final.verdict] = [final.at_step]
    return Outcome(
        source=recording.source,
        name=recording.name,
        steps=_span(samples.steps.tolist()),
        points=len(samples),
        fired={rule: tuple(steps) for rule, steps in fired.items()},
        named={v: tuple(steps) for v, steps in named.items()},
        verdict=final.verdict,
        stopped=tuple(slow.rule for slow in engine.stopped),
        sight=watch.sight(samples, fired),
    )


def _span(steps: list[int]) -> int:
    return sum(max(b - a, 0) for a, b in itertools.pairwise(steps)) + 1 if steps else 0
