"""The sentence in which a rule says what it saw."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.rules.explain import Explanation

KNOWN = {"up": 0.5, "r": 0.25, "warmup": True}


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("up {up:.2f}, c {c:.2f}", "up 0.50, c unknown"),
        ("up {up:.2f}[, c {c:.2f}][, r {r:.0%}].", "up 0.50, r 25%."),
        ("[{c} of {up}; ]{{up}}", "{up}"),
        ("a [note] of [{{c}}]{up}", "a [note] of [{c}]0.5"),
        ("[[{c}] and [{up}", "[ and [0.5"),
        ("loss] {up}]", "loss] 0.5]"),
    ],
)
def test_parts_in_brackets_are_told_where_they_are_known(template: str, said: str) -> None:
    assert Explanation(template).fill({**KNOWN, "c": None}) == said
    assert Explanation(template).fill(KNOWN) == said


def test_which_features_a_sentence_needs() -> None:
    found = Explanation("up {up:.2f}[, c {c:.2f} of {r}] [{{x}}] {r}")
    assert found.names == {"up", "c", "r"}
    assert found.needed == {"up", "r"}


@given(st.text(st.sampled_from("[]ab .,;"), max_size=30))
def test_a_sentence_without_features_is_told_as_it_stands(text: str) -> None:
    assert Explanation(text).fill({}) == text


def test_a_number_beyond_all_reason_is_told_in_powers_of_ten() -> None:
    assert Explanation("{up:.2f}").fill({"up": 3e9}) == "3e+09"


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        ("{r:.2%}", 0.00001234, "0.001%"),
        ("{r:.2f}", -0.0004, "-0.0004"),
        ("{r:+.2f}", 0.0004, "+0.0004"),
        ("{r:.0f}", 0.0, "0"),
        ("{r:.2f}", 0.006, "0.01"),
        ("{r:.2f}", float("nan"), "nan"),
    ],
)
def test_what_is_small_is_not_told_as_nothing(form: str, value: float, said: str) -> None:
    assert Explanation(form).fill({"r": value}) == said
