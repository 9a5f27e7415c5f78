from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from steersman.cli.errors import CommandError, ExitCode
from steersman.cli.rules import command

BAD = Path(__file__).parent / "bad"


def test_check_prints_every_mistake_and_fails() -> None:
    result = CliRunner().invoke(command, ["check", str(BAD / "three_mistakes.yaml")])
    assert [line.rpartition("three_mistakes.yaml")[2] for line in result.output.splitlines()] == [
        line.partition("three_mistakes.yaml")[2] for line in (BAD / "three_mistakes.txt").read_text().splitlines()
    ]
    assert isinstance(result.exception, CommandError)
    assert result.exception.code is ExitCode.FAILED
    assert result.exception.message == "3 mistakes in the rule files"


def test_check_is_silent_on_what_is_right(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "rules:\n  - {rule: a, expr: up > 0.5, severity: info, verdict: diverged, explain: 'up {up:.2f}'}\n"
    )
    result = CliRunner().invoke(command, ["check", str(file)])
    assert (result.exit_code, result.output) == (0, "1 rules, no mistake\n")


@pytest.mark.parametrize("flag", ["--explain", "--json"])
def test_list_shows_the_shipped_rules(flag: str) -> None:
    result = CliRunner().invoke(command, ["list", flag])
    assert result.exit_code == 0
    assert "lr_high_stalled" in result.output
    if flag == "--json":
        assert {r["severity"] for r in json.loads(result.output)} == {"info", "warning", "critical"}
