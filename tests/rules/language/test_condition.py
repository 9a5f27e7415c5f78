from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rules.language.kleene import Value, walk

from steersman.rules.language.condition import Condition
from steersman.rules.language.expression import parse
from steersman.rules.language.words import LanguageError

VALUES = st.one_of(st.none(), st.floats(-3, 3))


@given(st.fixed_dictionaries({"a": VALUES, "b": VALUES, "d": VALUES}))
def test_compiled_and_walked_agree(values: dict[str, Value]) -> None:
    for source in (
        "a > 0.5 && b < 1.0 || !(d >= 0.0)",
        "a + b * d > 1.0",
        "known(a) && a > -1.0",
        "!known(d) || d / 2.0 != b",
        "-a < b == (d > 0.0)",
    ):
        condition = Condition(source)
        assert condition.evaluate(values) == walk(condition.tree, values), source


@pytest.mark.parametrize(("p", "q"), list(itertools.product([1.0, -1.0, None], repeat=2)))
def test_logic_is_kleene(p: Value, q: Value) -> None:
    values: dict[str, Value] = {"p": p, "q": q}
    both = Condition("p > 0.0 && q > 0.0").evaluate(values)
    either = Condition("p > 0.0 || q > 0.0").evaluate(values)
    truths = [None if x is None else x > 0 for x in (p, q)]
    assert both is (False if False in truths else None if None in truths else True)
    assert either is (True if True in truths else None if None in truths else False)


def test_a_division_by_zero_is_unknown() -> None:
    assert Condition("1.0 / a > 0.0").evaluate({"a": 0.0}) is None


@pytest.mark.parametrize(
    ("source", "at"),
    [("a >", 2), ("a > 0.1)", 7), ("(a > 0.1", 0), ("a ? b", 2), ("f(a)", 0), ("known(1.0)", 6), ("", 0)],
)
def test_what_cannot_be_parsed_is_told_with_its_place(source: str, at: int) -> None:
    with pytest.raises(LanguageError) as caught:
        parse(source)
    assert caught.value.at == at


@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused(source: str) -> None:
    with contextlib.suppress(LanguageError):
        Condition(source)


NUMBERS = st.recursive(
    st.sampled_from(["a", "b", "d", "0.5", "-a"]),
    lambda parts: st.tuples(parts, st.sampled_from("+-*"), parts).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=4,
)
TRUTHS = st.recursive(
    st.tuples(NUMBERS, st.sampled_from(["<", ">=", "=="]), NUMBERS).map(" ".join)
    | st.sampled_from(["known(a)", "true", "p", "q"]),
    lambda parts: (
        st.tuples(parts, st.sampled_from(["&&", "||", "=="]), parts).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})")
        | parts.map(lambda part: f"!({part})")
    ),
    max_leaves=8,
)
BOOLS = st.sampled_from([None, True, False])


@given(TRUTHS, st.fixed_dictionaries({"a": VALUES, "b": VALUES, "d": VALUES, "p": BOOLS, "q": BOOLS}))
def test_what_is_compiled_for_unknowns_is_kleenes_logic(source: str, values: dict[str, Value]) -> None:
    condition = Condition(source)
    for _ in range(2):  # made, and then taken from those that are kept
        assert condition.evaluate(values) is walk(condition.tree, values)


def test_a_feature_that_is_not_there_is_unknown() -> None:
    condition = Condition("a > 1.0 || b > 1.0")
    assert condition.evaluate({"b": 2.0}) is True
    assert condition.evaluate({"b": 0.0}) is None
    assert condition.evaluate({}) is None
    assert Condition("known(d) || a > b").evaluate({"a": 2.0, "b": 1.0}) is True
