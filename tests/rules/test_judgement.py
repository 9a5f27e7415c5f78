"""The learned judgement: signs as theory has them, silence where it knows nothing."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.rules.judgement import INPUTS, MODEL, Forests, Judgement, judge

SAVED = json.loads(MODEL.read_text())
FORESTS = Forests([SAVED[what] for what in ("low", "high", "octaves")])

TYPICAL: dict[str, Any] = {
    "n_c": 20.0, "c": 0.0, "t_c": 0.0, "r": 0.01, "r_top": 0.02, "travel": 0.2, "rho": 0.1, "i": 0.3, "i_lo": 0.2,
    "i_up": 0.4, "above_start": -1.0, "fell": 1.0, "up": 0.0, "overshoot": 0.0, "noise": 0.05, "gnorm_change": 0.0,
    "mk": -60.0, "horizon": 1000.0,
}  # fmt: skip


def judged(**other: Any) -> Judgement:
    found = judge({**TYPICAL, **other})
    assert found is not None
    return found


def test_small_steps_that_agree_are_too_low_and_long_ones_that_do_not_are_too_high() -> None:
    low = judged(c=0.5, t_c=8.0, r=1e-4, r_top=1e-4, travel=1e-3, rho=1.0, fell=0.2, above_start=-0.2)
    assert low.low > 0.9
    assert low.high < 0.05
    assert low.octaves < -2.0
    high = judged(
        c=-0.2,
        t_c=-4.0,
        r=0.2,
        r_top=1.0,
        travel=3.0,
        rho=0.0,
        fell=0.1,
        above_start=0.0,
        i=0.0,
        i_lo=-0.1,
        i_up=0.1,
        up=0.1,
        mk=0,
    )
    assert high.high > 0.9
    assert high.low < 0.05
    assert high.octaves > 1.0


@given(c=st.floats(-0.5, 0.8), more=st.floats(0.0, 0.5), r=st.floats(1e-4, 0.3), longer=st.floats(1.0, 10.0))
def test_signs_are_those_of_theory(c: float, more: float, r: float, longer: float) -> None:
    """Steps that agree more never speak for "too high", longer ones never for "too low"."""
    base, agreeing = judge({**TYPICAL, "c": c, "r": r}), judge({**TYPICAL, "c": c + more, "r": r})
    assert base is not None
    assert agreeing is not None
    assert agreeing.high <= base.high + 1e-12
    assert agreeing.low >= base.low - 1e-12
    long = judge({**TYPICAL, "c": c, "r": min(r * longer, 0.3)})
    assert long is not None
    assert long.low <= base.low + 1e-12
    assert long.octaves >= base.octaves - 1e-9


@pytest.mark.parametrize("other", [{"n_c": 4.0}, {"r": None}, {"i": None}, {"r": 1e-30}, {"r_top": 1e30}])
def test_it_says_nothing_of_what_it_has_never_seen(other: dict[str, Any]) -> None:
    assert judge({**TYPICAL, **other}) is None


@given(values=st.dictionaries(st.sampled_from(list(INPUTS)), st.none() | st.floats(-100, 100)))
def test_whatever_is_unknown_it_is_a_probability(values: dict[str, Any]) -> None:
    found = judge({**TYPICAL, **values})
    if found is not None:
        assert 0.0 <= found.low <= 1.0
        assert 0.0 <= found.high <= 1.0
        assert math.isfinite(found.octaves)


def test_what_was_learned_is_small() -> None:
    assert MODEL.stat().st_size < 500_000


def _walked(tree: list[list[Any]], x: list[float]) -> float:
    node = tree[0]
    while node[0] >= 0:
        known = not math.isnan(x[node[0]])
        node = tree[node[3] if (x[node[0]] <= node[1] if known else node[2]) else node[4]]
    return float(node[5])


@given(x=st.lists(st.floats(-5.0, 5.0) | st.just(math.nan), min_size=len(INPUTS), max_size=len(INPUTS)))
def test_all_nodes_at_once_come_to_the_leaf_that_a_walk_ends_in(x: list[float]) -> None:
    saved = [SAVED[what] for what in ("low", "high", "octaves")]
    walked = [one["base"] + sum(_walked(tree, x) for tree in one["trees"]) for one in saved]
    assert FORESTS.sums(np.array(x)) == pytest.approx(walked, abs=1e-9)
