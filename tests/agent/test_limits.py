from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from steersman.agent.limits import Keeper, Limits, Order, Standing, check_policy

NOW = 1000.0
ORDER = Order("a1", "attempt", counter=5, expires_at=NOW + 60, factor=0.5)
SEEN = {"0": 0.1, "1": 0.01}


def keeper(limits: Limits | None = None, policy: str = "auto", **standing: Any) -> Keeper:
    made = Keeper("attempt", limits or Limits(), policy, Standing(**standing))
    made.see(500, SEEN)
    return made


REFUSED: list[tuple[str, Keeper, dict[str, Any], str]] = [
    ("another attempt", keeper(), {"attempt_id": "b"}, "the order is for attempt b, this is attempt"),
    (
        "counter",
        keeper(counter=5),
        {},
        "the order's counter 5 is not above 5, the last one permitted",
    ),
    ("expired", keeper(), {"expires_at": NOW - 2}, "the order expired 2.0 s ago"),
    ("observe", keeper(policy="observe"), {}, "the job's policy is observe: the daemon may change nothing by itself"),
    ("advise", keeper(policy="advise"), {}, "the job's policy is advise: the daemon may change nothing by itself"),
    (
        "budget",
        keeper(made=3),
        {},
        "the daemon has made 3 adjustments by itself, and the job's owner allows 3",
    ),
    (
        "cooldown",
        keeper(made=1, last_step=400),
        {},
        "only 100 steps since the last adjustment, and the job's owner asks for 200 between two",
    ),
    ("too low", keeper(), {"factor": 0.06}, "a total factor of 0.06 is below the owner's least, 0.0625"),
    ("too high", keeper(), {"factor": 16.1}, "a total factor of 16.1 is above the owner's most, 16"),
    (
        "an operator's too",
        keeper(),
        {"factor": 17.0, "by_operator": True},
        "a total factor of 17 is above the owner's most, 16",
    ),
    ("an undo's too", keeper(), {"factor": 17.0, "undo": True}, "a total factor of 17 is above the owner's most, 16"),
    (
        "value too low",
        keeper(),
        {"factor": None, "value": 0.001},
        "a total factor of 0.01 is below the owner's least, 0.0625",
    ),
    (
        "lowest LR of any group",
        keeper(Limits(min_lr=0.006)),
        {},
        "a learning rate of 0.005 in group 1 is below the owner's least, 0.006",
    ),
    (
        "highest LR of any group",
        keeper(Limits(max_lr=0.15)),
        {"factor": 2.0},
        "a learning rate of 0.2 in group 0 is above the owner's most, 0.15",
    ),
    ("nothing named", keeper(), {"factor": None}, "the order names neither a factor nor a value"),
    ("not a number", keeper(), {"factor": float("nan")}, "nan is no learning rate and no factor on one"),
    ("negative", keeper(), {"factor": -1.0}, "-1 is no learning rate and no factor on one"),
    (
        "unseen",
        Keeper("attempt", Limits(), "auto", Standing()),
        {"factor": None, "value": 0.1},
        "no learning rate of this job has been seen yet, so the owner's bounds cannot be checked",
    ),
]


@pytest.mark.parametrize(("judge", "change", "words"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_an_order_is_refused_in_words(judge: Keeper, change: dict[str, Any], words: str) -> None:
    assert judge.objection(replace(ORDER, **change), NOW) == words


def test_a_learning_rate_of_0_has_no_factor() -> None:
    judge = keeper()
    judge.see(501, {"0": 0.0})
    assert judge.objection(replace(ORDER, factor=None, value=0.1), NOW).startswith("the job's own learning rate is 0")


PERMITTED: list[tuple[str, Keeper, dict[str, Any]]] = [
    ("plain", keeper(), {}),
    ("the very bound, reached in steps", keeper(), {"factor": 0.5**4 * (1 - 1e-12)}),
    ("after the cooldown", keeper(made=1, last_step=300), {}),
    ("undo past budget and cooldown", keeper(made=3, last_step=499), {"undo": True}),
    ("undo under observe", keeper(policy="observe"), {"undo": True, "factor": 1.0}),
    ("an operator under observe", keeper(policy="observe"), {"by_operator": True}),
    ("an operator past budget and cooldown", keeper(made=3, last_step=499), {"by_operator": True}),
    ("back to the job's own, below its owner's least LR", keeper(Limits(min_lr=1.0)), {"factor": 1.0}),
    ("a value", keeper(), {"factor": None, "value": 0.05}),
    ("upwards although below the least", keeper(Limits(min_lr=1.0)), {"factor": 2.0}),
    ("without expiry", keeper(), {"expires_at": 0.0}),
]


@pytest.mark.parametrize(("judge", "change"), [p[1:] for p in PERMITTED], ids=[p[0] for p in PERMITTED])
def test_an_order_is_permitted(judge: Keeper, change: dict[str, Any]) -> None:
    assert judge.objection(replace(ORDER, **change), NOW) == ""


def test_what_was_permitted_is_remembered_over_a_restart() -> None:
    judge = keeper()
    judge.permit(ORDER)
    assert judge.repeats(ORDER)
    again = Keeper("attempt", Limits(), "auto", Standing.of(asdict(judge.standing)))
    again.see(520, SEEN)
    assert again.standing.factor == 0.5
    assert again.repeats(ORDER)
    assert "only 20 steps" in again.objection(replace(ORDER, counter=6), NOW)
    again.see(700, SEEN)
    assert again.objection(replace(ORDER, counter=6), NOW) == ""


def test_undo_and_operator_cost_no_budget() -> None:
    judge = keeper()
    changes: list[dict[str, Any]] = [{"undo": True}, {"by_operator": True}]
    for counter, change in enumerate(changes, 5):
        judge.permit(replace(ORDER, counter=counter, **change))
    assert (judge.standing.made, judge.standing.last_step, judge.standing.counter) == (0, -1, 6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_facter": 2}, "'max_facter' is no limit; did you mean 'max_factor'? Limits are min_factor, max_factor,"),
        ({"min_factor": 0}, "min_factor must be above 0 and at most 1 (no change), not 0"),
        ({"max_factor": 0.5}, "max_factor must be at least 1 (no change), not 0.5"),
        ({"max_factor": float("inf")}, "max_factor must be a finite number, not inf"),
        ({"min_lr": "a"}, "min_lr must be a finite number, not 'a'"),
        ({"min_lr": 2.0, "max_lr": 1.0}, "min_lr 2 is above max_lr 1"),
        ({"max_adjustments": -1}, "max_adjustments must be a whole number from 0 on, not -1"),
        ({"cooldown_steps": 1.5}, "cooldown_steps must be a whole number from 0 on, not 1.5"),
        (3, "limits must be a Limits or a mapping, not int"),
    ],
)
def test_wrong_limits_are_explained(given: Any, words: str) -> None:
    with pytest.raises(ValueError) as raised:
        Limits.of(given)
    assert str(raised.value).startswith(words)


def test_a_misspelt_policy_is_explained() -> None:
    with pytest.raises(ValueError) as raised:
        check_policy("approvve")
    assert str(raised.value) == (
        "'approvve' is no policy; did you mean 'approve'? Policies are observe, advise, approve, auto."
    )
