from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from steersman.cli.report.outcome import Outcome, as_object
from steersman.rules.facts import JobFacts
from steersman.rules.finding import Finding, FindingState, Severity
from steersman.rules.packs import load_pack
from steersman.rules.recording import Recording
from steersman.rules.replay import Replay, replay
from steersman.rules.samples import Column, Samples

POINTS = 900


def job(seed: int) -> Samples:
    """A job that falls, with bursts that are no numbers and shelves that come and go."""
    draw = np.random.default_rng(seed)
    loss = 4.0 * np.arange(1, POINTS + 1) ** -0.2 * np.exp(0.02 * draw.standard_normal(POINTS))
    for start in draw.integers(150, POINTS - 60, 3):
        loss[start : start + int(draw.integers(1, 8))] = np.nan
    for start in draw.integers(150, POINTS - 60, 3):
        loss[start : start + int(draw.integers(3, 50))] *= 1.5
    columns = {"loss": Column.full(loss), "lr/0": Column.full(np.full(POINTS, 1e-3))}
    return Samples(np.arange(POINTS) * 5, np.zeros(POINTS), columns)


def told(samples: Samples) -> dict[str, list[dict[str, Any]]]:
    done = replay(Recording("x", "x", "csv", samples, JobFacts(), (), {}), load_pack(()))
    return {f["rule"]: f["episodes"] for f in as_object(Outcome("x", done))["findings"]}


@pytest.mark.parametrize("seed", range(2))
def test_what_is_told_of_a_prefix_is_what_the_whole_run_tells_up_to_there(seed: int) -> None:
    samples = job(seed)
    whole = told(samples)
    assert max(map(len, whole.values())) > 1, "some rule fires more than once"
    for stop in range(70, POINTS, 110):
        until = samples.steps[stop - 1]
        expected = {rule: [e for e in episodes if e["first_step"] <= until] for rule, episodes in whole.items()}
        prefix = told(samples.rows(0, stop))
        assert set(prefix) == {rule for rule, episodes in expected.items() if episodes}
        for rule, episodes in prefix.items():
            assert [e["first_step"] for e in episodes] == [e["first_step"] for e in expected[rule]], (rule, stop)
            assert episodes[:-1] == expected[rule][:-1]
            assert episodes[-1]["last_step"] <= min(until, expected[rule][-1]["last_step"])


def finding(state: FindingState, severity: Severity, first: int, last: int) -> Finding:
    return Finding("r", state, severity, "diverged", first, last, 0.0, "words")


def test_a_rule_that_was_critical_once_stays_so_whatever_it_says_later(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = job(0).rows(0, 50)
    done = replay(Recording("x", "x", "csv", samples, JobFacts(), (), {}), load_pack(()))
    changes = (
        finding(FindingState.FIRING, Severity.CRITICAL, 10, 10),
        finding(FindingState.RESOLVED, Severity.CRITICAL, 10, 30),
        finding(FindingState.PENDING, Severity.INFO, 10, 40),
        finding(FindingState.FIRING, Severity.INFO, 50, 50),
        finding(FindingState.RESOLVED, Severity.INFO, 50, 60),
        finding(FindingState.PENDING, Severity.INFO, 50, 70),
        finding(FindingState.RESOLVED, Severity.INFO, 50, 70),
    )
    monkeypatch.setattr(done.engine, "findings", lambda: [finding(FindingState.PENDING, Severity.INFO, 50, 80)])
    outcome = Outcome("x", Replay(done.recording, done.engine, changes, done.diagnosis))
    assert outcome.critical
    (one,) = as_object(outcome)["findings"]
    assert (one["severity"], one["first_step"], one["last_step"]) == ("critical", 50, 60)
    assert one["episodes"] == [
        {"first_step": 10, "last_step": 30, "severity": "critical"},
        {"first_step": 50, "last_step": 60, "severity": "info"},
    ]
