"""What every feature promises: its state survives JSON to the bit, wherever it is taken."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import steersman.rules.features as features
from steersman.rules.facts import JobFacts
from steersman.rules.features.saved import Saved

Step = Callable[[Any, float, int], object]

MAKE: dict[str, Callable[[Any], Any]] = {"Smooth": lambda k: k(8.0), "Panel": lambda k: k(JobFacts())}
STEP: dict[str, Step] = {
    "Smooth": lambda f, x, n: f.update(x),
    "LogLoss": lambda f, x, n: f.update(x),
    "WinsorZ": lambda f, x, n: f.update(x),
    "Cusum": lambda f, x, n: f.update(x),
    "DrawUp": lambda f, x, n: f.update(x),
    "Breakout": lambda f, x, n: f.update(x) if n % 5 else f.burst(),
    "Knee": lambda f, x, n: f.update(x),
    "Zeros": lambda f, x, n: f.update(x),
    "GradientLevel": lambda f, x, n: f.update(x),
    "Spikes": lambda f, x, n: f.spiked(n) if x > 0.0 else f.recent(n),
    "BatchSize": lambda f, x, n: f.update(abs(x) + 1.0),
    "Recovery": lambda f, x, n: f.spiked(x) if n % 5 == 0 else f.update(x),
    "Numerics": lambda f, x, n: (f.scaled(2.0 ** (n % 6)), f.clip(abs(x), 1.0)),
    "Surge": lambda f, x, n: f.update(x) if n % 5 else f.begin(1.0 + n, 1.0, x, abs(x)),
    "StaleMoment": lambda f, x, n: f.update(abs(x), 1),
    "BlockRing": lambda f, x, n: f.add(float(n), float(n), x),
    "Hypergradient": lambda f, x, n: f.update(x),
    "StepSize": lambda f, x, n: f.update(abs(x), 1.0 + abs(x)),
    "Alignment": lambda f, x, n: f.moved(n, abs(x) + 0.1) if n % 2 else f.promised(n, x, abs(x)),
    "GainRatio": lambda f, x, n: f.update(n, x, 0.1),
    "Nonfinite": lambda f, x, n: f.update(bool(n % 7)),
    "LearningRate": lambda f, x, n: f.update(abs(x), 1),
    "ValidationSet": lambda f, x, n: f.update(n, x, 1.0),
    "Regime": lambda f, x, n: f.tick() if n % 9 else f.begin("test", n),
    "Panel": lambda f, x, n: (f.clock(n, float(n)), f.take_loss(x), f.take_grad_norm(abs(x))),
}


def kinds() -> list[Any]:
    found = {}
    for module in pkgutil.iter_modules(features.__path__):
        for _, kind in inspect.getmembers(
            importlib.import_module(f"{features.__name__}.{module.name}"), inspect.isclass
        ):
            if issubclass(kind, Saved) and kind is not Saved:
                found[kind.__name__] = kind
    return list(found.values())


def test_every_feature_has_a_step_here() -> None:
    assert {kind.__name__ for kind in kinds()} == set(STEP)


@pytest.mark.parametrize("kind", kinds(), ids=lambda k: k.__name__)
@given(data=st.data())
def test_state_survives_json(kind: Any, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.floats(-1.0, 5.0), min_size=1, max_size=90))
    cut = data.draw(st.integers(0, len(values)))
    make = MAKE.get(kind.__name__, lambda k: k())
    step = STEP[kind.__name__]
    straight, broken = make(kind), make(kind)
    for n, x in enumerate(values):
        if n == cut:
            saved = json.loads(json.dumps(broken.state()))
            broken = make(kind)
            broken.load(saved)
        assert repr(step(straight, x, n)) == repr(step(broken, x, n))
    assert json.dumps(straight.state()) == json.dumps(broken.state())
