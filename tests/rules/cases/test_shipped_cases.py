"""Every shipped rule comes with a case on which it fires and one on which it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from steersman.cli.rule_page import firing_case, quiet_cases
from steersman.rules.cases.casefile import read_cases
from steersman.rules.cases.trial import Tried, try_file
from steersman.rules.packs import load_pack, shipped_pack

FILES = sorted((shipped_pack() / "tests").glob("*.yaml"))


@pytest.fixture(scope="module")
def tried() -> list[Tried]:
    return [t for file in read_cases(FILES) for t in try_file(file)]


def test_all_come_out_as_expected(tried: list[Tried]) -> None:
    assert not [f"{t.case.name}: {f}" for t in tried for f in t.failures]


@pytest.mark.parametrize("rule", [rule.name for rule in load_pack().rules])
def test_each_rule_has_a_case_on_which_it_fires_and_one_on_which_it_does_not(rule: str, tried: list[Tried]) -> None:
    assert firing_case(rule, tried) is not None, f"no case in {FILES[0].parent} asks for {rule} to fire"
    assert quiet_cases(rule, tried), f"no case in {FILES[0].parent} asks for {rule} to stay silent, by name"


def test_cases_are_named_once(tried: list[Tried]) -> None:
    names = [t.case.name for t in tried]
    assert len(set(names)) == len(names)


def test_no_other_rules_are_meant() -> None:
    assert {path for file in read_cases(FILES) for path in file.rules} == {Path(shipped_pack())}
