"""What following a prescription is expected to bring."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rules import series as s

from steersman.rules import effects
from steersman.rules.engine import Engine
from steersman.rules.facts import JobFacts
from steersman.rules.packs import load_pack


@given(factor=st.floats(1e-6, 1e6), broken=st.booleans())
def test_each_change_is_of_one_kind_or_of_none(factor: float, broken: bool) -> None:
    name = effects.kind(factor, broken)
    told = effects.expected(factor, broken)
    assert (name is None) == (told is None)
    if told is not None:
        assert told.low <= told.nats <= told.high
        assert told.jobs >= 30, "too few to speak of an interval"
        assert ("raise" in str(name)) == (factor > 1.0)


def test_what_was_not_tried_is_not_forecast() -> None:
    assert effects.expected(1.0, broken=False) is None
    assert effects.expected(0.1, broken=False) is None
    assert effects.expected(40.0, broken=False) is None


def test_a_prescription_says_what_it_is_expected_to_bring() -> None:
    engine = Engine(load_pack(), JobFacts())
    engine.feed(s.job(s.falling(600, power=0.05, noise=0.005), c=0.4, r=1e-5))
    prescription = engine.diagnose().prescription
    assert prescription is not None
    assert prescription.value > 1.0
    assert prescription.expected == effects.expected(prescription.value, broken=False)


def test_what_was_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "MEASURED", tmp_path / "effects.json")
    try:
        effects.write({"cut": {"nats": -0.5, "low": -1.0, "high": 0.25, "jobs": 40, "held out": -0.1}})
        told = effects.expected(0.5, broken=False)
        assert told is not None
        assert (told.nats, told.low, told.high, told.jobs) == (-0.5, -1.0, 0.25, 40)
        assert effects.expected(2.0, broken=False) is None
    finally:
        monkeypatch.undo()
        effects._measured.cache_clear()
