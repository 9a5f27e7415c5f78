from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.rules.cases.drawing import draw, length
from steersman.rules.cases.parser import parse


def values(source: str, rows: int = 10, interval: int = 1, seed: int = 0) -> list[float | None]:
    notation, wrong = parse(source)
    assert not wrong, [e.text for e in wrong]
    column = draw(notation, np.arange(rows) * interval, "loss", seed)
    return [v if p else None for v, p in zip(column.values.tolist(), column.present.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("0.5", [0.5] * 5),
        ("flat 2.0 for 3", [2.0, 2.0, 2.0, None, None]),
        ("0.0 -> 4.0 over 5", [0.0, 1.0, 2.0, 3.0, 4.0]),
        ("4->0", [4.0, 3.0, 2.0, 1.0, 0.0]),
        ("flat 1 for 2 then -> 4 over 3", [1.0, 1.0, 2.0, 3.0, 4.0]),
        ("1 -> 16 over 5 log", [1.0, 2.0, 4.0, 8.0, 16.0]),
        ("0 -> 2 over 3 cosine then flat", [0.0, 1.0, 2.0, 2.0, 2.0]),
        ("1+2x2 _ 5", [1.0, 3.0, 5.0, None, 5.0]),
        ("10-1.5x2 7x1", [10.0, 8.5, 7.0, 7.0, 7.0]),
        ("_x3 2 then flat", [None, None, None, 2.0, 2.0]),
        ("flat 2, spike x3 at 1 for 2", [2.0, 6.0, 6.0, 2.0, 2.0]),
        ("flat 2, spike +0.5 at 4", [2.0, 2.0, 2.0, 2.0, 2.5]),
        ("flat 2, spike -0.5 3..4", [2.0, 2.0, 2.0, 1.5, 1.5]),
        ("flat 2, value 0 at 1, gap 2..3", [2.0, 0.0, None, None, 2.0]),
        ("0 -> 4, every 2", [None, None, 2.0, None, 4.0]),
        ("0 -> 4, every 3 from 0", [0.0, None, None, 3.0, None]),
    ],
)
def test_what_is_written_is_what_comes(source: str, expected: list[float | None]) -> None:
    assert values(source, 5) == [None if v is None else pytest.approx(v) for v in expected]


def test_everything_but_plain_values_counts_steps() -> None:
    bent = values("flat 1 for 20 then -> 2 over 20, spike x2 at 30", 5, interval=10)
    assert bent[:4] == pytest.approx([1.0, 1.0, 1.05, 3.1])
    assert bent[4] is None
    assert values("1 2 3", 5, interval=10) == [1.0, 2.0, 3.0, None, None]
    assert values("flat 1, every 25", 8, interval=10) == [None, None, None, 1.0, None, 1.0, None, None]


def test_a_power_runs_through_both_ends() -> None:
    loss = values("4.0 -> 0.5 over 300 power", 300)
    assert loss[0] == 4.0
    assert loss[-1] == pytest.approx(0.5)
    logs = [math.log(v) for v in loss if v is not None]
    slopes = [(logs[b - 1] - logs[a - 1]) / math.log(b / a) for a, b in ((1, 10), (10, 100), (100, 300))]
    assert slopes == pytest.approx([slopes[0]] * 3)


def test_values_that_are_not_finite() -> None:
    loss = values("flat 1, nan at 1, inf at 2, -inf 3..4", 5)
    assert loss[0] == 1.0
    assert loss[1] is not None
    assert math.isnan(loss[1])
    assert loss[2:] == [math.inf, -math.inf, -math.inf]


def test_noise_has_its_size_and_comes_again_the_same() -> None:
    whole = np.array(values("flat 2.0 noise 3%", 4000))
    assert np.log(whole / 2.0).std() == pytest.approx(0.03, rel=0.05)
    assert np.array(values("flat 2.0, noise 0.1", 4000)).std() == pytest.approx(0.1, rel=0.05)
    assert values("flat 2.0 noise 3%", 20) == values("flat 2.0 noise 3%", 20)
    assert values("flat 2.0 noise 3%", 20) != values("flat 2.0 noise 3%", 20, seed=1)
    # Promised by numpy for ever: a case must not turn with the version that is installed.
    assert values("flat 1.0 noise 100%", 2) == pytest.approx([0.3297, 0.7159], abs=1e-4)


def test_noise_and_waves_keep_to_their_place() -> None:
    part = values("flat 2.0, noise 3% 2..3", 6)
    assert [k for k, v in enumerate(part) if v != 2.0] == [2, 3]
    assert values("flat 2.0, wave 0.5 every 4", 5) == pytest.approx([2.0, 2.5, 2.0, 1.5, 2.0])


@pytest.mark.parametrize(
    ("source", "at", "words"),
    [
        ("", 0, "an item is missing"),
        ("flat 1,", 7, "an item is missing"),
        ("spike x3 at 3", 0, "begins with its values, not with 'spike'"),
        ("-> 3 over 3", 0, "needs a value to begin with"),
        ("flat for 3", 0, "needs a value to begin with"),
        ("flat 1 then flat 2", 12, "the piece before this one has no length"),
        ("flat 1 for ten", 11, "expected a number of steps after 'for', found 'ten'"),
        ("flat 1 for 0", 11, "steps after 'for' are 1 to 100000, found '0'"),
        ("flat 1 for 9999999999", 11, "steps after 'for' are 1 to 100000"),
        ("flat one", 5, "expected a number after 'flat', found 'one'"),
        ("1e999", 0, "too large"),
        ("1.0 2e999", 4, "too large"),
        ("flat 1.0 noise 1e999", 15, "too large"),
        ("flat 1.0, spike x1e999 at 3", 16, "too large"),
        ("flat 1e999", 5, "too large"),
        ("4 -> 2 over 3 lg", 14, "did not expect 'lg' (did you mean 'log'?)"),
        ("4 -> -2 over 3 log", 15, "runs between numbers above zero"),
        ("4 ->", 4, "expected a number after '->', found the end"),
        ("flat 1 noise x", 13, "expected a share such as '3%'"),
        ("flat 1 noise 5000%", 13, "expected a share such as '3%'"),
        ("flat 1, spike 3 at 3", 14, "expected 'x3' (times three) or '+0.5'"),
        ("flat 1, spike x3", 16, "expected where after 'spike'"),
        ("flat 1, gap 5..3", 12, "'5..3' is no range"),
        ("flat 1, wave 3% 10..20", 16, "expected 'every N'"),
        ("flat 1, value at 3", 14, "expected a number after 'value', found 'at'"),
        ("flat 1, every 0", 14, "steps after 'every' are 1 to"),
        ("1.0 noise x", 4, "'noise' stands alone: what should follow it is missing"),
        ("1 2 spke", 4, "did not understand 'spke' (did you mean 'spike'?)"),
        ("1x200000", 0, "a series may have 100000 values"),
        ("flat 1 for 3 nan at 2", 13, "did not expect 'nan' here: separate items by ',' or 'then'"),
        ("1 " * 2000, 0, "a series may have 2048 characters, not 4000"),
        ("1, " * 100 + "1", 0, "a series may have 64 items, not 101"),
    ],
)
def test_what_cannot_be_understood_is_told_with_its_place(source: str, at: int, words: str) -> None:
    (error,) = parse(source)[1]
    assert words in error.text
    assert error.at == at


def test_every_item_tells_its_own_mistake() -> None:
    assert [e.at for e in parse("flat 1 ten then spike x at 3, gap")[1]] == [7, 22, 33]


WORDS = st.sampled_from(
    [
        *("flat", "1", "2.0", "->", "then", ",", "for", "over", "3", "300", "noise", "3%", "spike", "x3", "+1", "at"),
        *("nan", "gap", "1..2", "every", "_x2", "1+2x5", "log", "power", "value", "wave", "from", "-inf"),
    ]
)


@given(st.lists(WORDS, max_size=14).map(" ".join))
def test_any_words_are_a_series_or_refused(source: str) -> None:
    notation, wrong = parse(source)
    if not wrong:
        size = length(notation, 1)
        assert size is None or size > 0
        column = draw(notation, np.arange(50), "loss", 0)
        assert column.values.shape == column.present.shape == (50,)
    assert all(0 <= e.at <= len(source) and e.text for e in wrong)
