from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steersman.rules.language.condition import Condition, Value
from steersman.rules.language.sieve import Sieve

VALUES = st.one_of(st.none(), st.floats(-3, 3), st.sampled_from([0.0, float("nan"), float("inf")]))
BOOLS = st.sampled_from([None, True, False])
NUMBERS = st.recursive(
    st.sampled_from(["a", "b", "d", "0.5", "-a"]),
    lambda parts: st.tuples(parts, st.sampled_from("+-*/"), parts).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=4,
)
TRUTHS = st.recursive(
    st.tuples(NUMBERS, st.sampled_from(["<", ">=", "==", "!="]), NUMBERS).map(" ".join)
    | st.sampled_from(["known(a)", "true", "p", "q"]),
    lambda parts: (
        st.tuples(parts, st.sampled_from(["&&", "||", "=="]), parts).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})")
        | parts.map(lambda part: f"!({part})")
    ),
    max_leaves=8,
)


@given(
    st.lists(TRUTHS, max_size=5),
    st.fixed_dictionaries({"a": VALUES, "b": VALUES, "d": VALUES, "p": BOOLS, "q": BOOLS}),
)
def test_no_condition_that_holds_falls_through(sources: list[str], values: dict[str, Value]) -> None:
    conditions = [Condition(source) for source in sources]
    sieve = Sieve(conditions)
    kept = sieve.may_hold(values)
    assert [place for place, c in enumerate(conditions) if c.evaluate(values) and place not in kept] == []
    for place, condition in enumerate(conditions):
        assert not sieve.settles(place, kept) or (condition.evaluate(values) is True) == (place in kept)


def test_a_condition_that_is_told_whole_need_not_be_looked_at_again() -> None:
    sieve = Sieve([Condition("a > 1.0"), Condition("(a > 1.0 && p) == q")])
    kept = sieve.may_hold({"a": 2.0, "p": False, "q": True})
    assert kept == [0, 1]
    assert [sieve.settles(place, kept) for place in (0, 1)] == [True, False]


def test_what_cannot_hold_is_kept_out() -> None:
    conditions = [Condition(s) for s in ("a > 1.0 && b > 1.0", "a > 1.0 || b > 1.0", "!(a > 1.0) || !known(b)")]
    sieve = Sieve(conditions)
    assert sieve.may_hold({"a": 2.0, "b": None}) == [1, 2]
    assert sieve.may_hold({"a": None, "b": 2.0}) == [1]
    assert sieve.may_hold({"a": None, "b": 0.0}) == []


def test_after_a_division_by_zero_each_is_looked_at() -> None:
    sieve = Sieve([Condition("1.0 / a > 0.0"), Condition("b > 0.0")])
    kept = sieve.may_hold({"a": 0.0, "b": -1.0})
    assert kept == [0, 1]
    assert not sieve.settles(0, kept)
    assert not sieve.settles(1, kept)


def test_of_no_conditions_none_holds() -> None:
    assert Sieve([]).may_hold({}) == []


def test_behind_what_settles_it_a_division_by_zero_leaves_all_unknown() -> None:
    condition = Condition("a > 1.0 || 1.0 / b > 1.0 || d > 1.0")
    values: dict[str, Value] = {"a": 2.0, "b": 0.0, "d": None}
    sieve = Sieve([condition])
    assert not sieve.settles(0, sieve.may_hold(values))
