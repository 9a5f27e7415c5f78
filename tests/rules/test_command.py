from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from steersman.cli.errors import CommandError, ExitCode, UsageError
from steersman.cli.rules import command
from steersman.rules.budget import Budget

BAD = Path(__file__).parent / "bad"


def test_check_prints_every_mistake_and_fails() -> None:
    result = CliRunner().invoke(command, ["check", str(BAD / "three_mistakes.yaml")])
    assert [line.rpartition("three_mistakes.yaml")[2] for line in result.output.splitlines()] == [
        line.partition("three_mistakes.yaml")[2] for line in (BAD / "three_mistakes.txt").read_text().splitlines()
    ]
    assert isinstance(result.exception, CommandError)
    assert result.exception.code is ExitCode.FAILED
    assert result.exception.message == "3 mistakes in the rule files"


def test_no_summary_is_cut() -> None:
    said = CliRunner().invoke(command, ["--help"], env={"COLUMNS": "80"}).output.partition("Commands:")[2]
    rows = [line.split(maxsplit=1) for line in said.splitlines() if line]
    assert {name for name, _ in rows} == {"list", "check", "test", "backtest", "docs"}
    assert all(summary.endswith(".") and not summary.endswith("...") for _, summary in rows)


def test_check_is_silent_on_what_is_right(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "rules:\n  - {rule: a, expr: up > 0.5, severity: info, verdict: diverged, explain: 'up {up:.2f}'}\n"
    )
    result = CliRunner().invoke(command, ["check", str(file)])
    assert (result.exit_code, result.output) == (0, "1 rule, no mistake\n")


@pytest.mark.parametrize("flag", ["--explain", "--json"])
def test_list_shows_the_shipped_rules(flag: str) -> None:
    result = CliRunner().invoke(command, ["list", flag])
    assert result.exit_code == 0
    assert "lr_high_stalled" in result.output
    if flag == "--json":
        assert {r["severity"] for r in json.loads(result.output)} == {"info", "warning", "critical"}


def test_list_shows_the_rules_that_are_named(tmp_path: Path) -> None:
    said = CliRunner().invoke(command, ["list", "--json", "lr_low", "spike"]).output
    assert [rule["rule"] for rule in json.loads(said)] == ["lr_low", "spike"]
    file = tmp_path / "mine.yaml"
    file.write_text(
        "rules:\n  - {rule: a, expr: up > 0.5, severity: info, verdict: diverged, explain: text}\n"
        "  - {rule: b, expr: up > 0.5, severity: info, verdict: diverged, explain: text}\n"
    )
    assert CliRunner().invoke(command, ["list", str(file), "b"]).output.split()[0] == "b"
    with pytest.raises(UsageError, match="lr_lo is no file, and no rule is called so") as caught:
        CliRunner().invoke(command, ["list", "lr_lo"], catch_exceptions=False)
    assert "did you mean lr_low" in caught.value.hint


def test_explain_says_what_to_do_and_how_often_it_fires_on_healthy_runs(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "rules:\n  - {rule: a, expr: up > 0.5, severity: info, verdict: diverged, explain: text, runbook: Wait.,\n"
        "     docs: 'https://example.org/a'}\n  - {rule: b, expr: up > 0.5, severity: info,\n"
        "     verdict: spike, explain: text}\n"
    )
    (tmp_path / "healthy.json").write_text(
        json.dumps({"healthy_runs": 40, "healthy_steps": 8000, "rules": {"a": {"runs": 2, "alarms": 3}}})
    )
    said = CliRunner().invoke(command, ["list", "--explain", str(tmp_path / "mine.yaml")]).output
    assert "do      Wait." in said
    assert "docs    https://example.org/a" in said
    assert "healthy on 2 of 40 healthy runs (0.6 % to 17 %), 3 times in 8,000 steps: 0.38 per 1,000" in said
    assert "healthy not measured yet" in said
    told = json.loads(CliRunner().invoke(command, ["list", "--json", str(tmp_path)]).output)
    assert told[0]["healthy"] == {"runs": 40, "fired_on": 2, "steps": 8000, "times": 3, "healthy_runs": 40}
    assert (told[0]["runbook"], told[1]["runbook"], told[1]["healthy"]) == ("Wait.", None, None)


def test_a_rule_that_no_healthy_run_could_make_fire_is_not_measured(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "rules:\n  - {rule: a, expr: clip_share > 0.5, severity: info, verdict: diverged, explain: text}\n"
    )
    counts = {"runs": 0, "alarms": 0, "of_runs": 0, "of_steps": 0}
    (tmp_path / "healthy.json").write_text(
        json.dumps({"healthy_runs": 40, "healthy_steps": 8000, "rules": {"a": counts}})
    )
    said = CliRunner().invoke(command, ["list", "--explain", str(tmp_path)]).output
    assert "healthy not measured: none of the 40 healthy runs has what it reads" in said
    assert "| diverged | not measured |" in CliRunner().invoke(command, ["docs", str(tmp_path)]).output


CASES = """
cases:
  - name: twice the loss
    series: {loss: "4.0 -> 0.45 over 600 power noise 3%, spike x2 at 500"}
    expect:
      - {rule: spike, by: 503}
  - name: expected too soon
    series: {loss: "4.0 -> 0.45 over 600 power noise 3%, spike x2 at 500"}
    expect:
      - {rule: spike, by: 300, severity: info}
"""


def test_a_plot_shows_a_spike_of_two_steps(tmp_path: Path) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text(CASES.replace("spike x2 at 500", "spike x2 at 500 for 2"))
    said = CliRunner().invoke(command, ["test", "--plot", str(file)]).output
    loss = next(line for line in said.splitlines() if line.strip().startswith("loss")).split()[1]
    assert len(loss) == 60
    assert loss[50] == "▃"
    assert set(loss[44:50] + loss[51:]) == {"▁"}


def test_test_prints_what_was_expected_beside_what_came(tmp_path: Path) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text(CASES)
    result = CliRunner().invoke(command, ["test", str(file)])
    assert result.output.splitlines() == [
        f"{file}  FAILED  1 of 2",
        "  FAILED: expected too soon",
        f"    {file}:10:9: spike",
        "      expected  firing by step 300, info",
        "      got       firing at 503 (info), resolved at 507",
        "2 cases, 1 failed",
    ]
    assert isinstance(result.exception, CommandError)
    assert result.exception.code is ExitCode.FAILED
    assert CliRunner().invoke(command, ["test", "--match", "twice", str(file)]).exit_code == 0
    none = CliRunner().invoke(command, ["test", "--match", "thrice", str(file)])
    assert isinstance(none.exception, CommandError)
    told = json.loads(CliRunner().invoke(command, ["test", "--json", str(file)]).stdout)
    assert (told["passed"], told["failed"]) == (1, 1)
    assert told["files"][0]["cases"][1]["failures"] == [
        {
            "about": "spike",
            "expected": "firing by step 300, info",
            "got": "firing at 503 (info), resolved at 507",
            "line": 10,
            "column": 9,
        }
    ]


def test_a_case_with_a_rule_that_is_too_slow_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steersman.rules.engine.Budget", partial(Budget, bound_us=-1.0))
    file = tmp_path / "cases.yaml"
    file.write_text(CASES)
    said = CliRunner().invoke(command, ["test", "--match", "twice", str(file)]).output
    assert f"{file}:3:1: blow_up\n      expected  to be evaluated throughout\n      got       the rule blow_up" in said


def test_test_plots_series_and_where_rules_fire(tmp_path: Path) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text(CASES)
    lines = CliRunner().invoke(command, ["test", "--plot", "--match", "twice", str(file)]).output.splitlines()
    assert lines[1:2] == ["  ok: twice the loss"]
    assert lines[2].startswith("    loss   █")
    assert lines[3].endswith("▲           fires at step 503")


def test_mistakes_in_cases_are_all_printed(tmp_path: Path) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text(CASES.replace("rule: spike", "rule: spke").replace("spike x2", "spike 2"))
    result = CliRunner().invoke(command, ["test", str(file)])
    assert len(result.output.splitlines()) == 4
    assert isinstance(result.exception, CommandError)
    assert result.exception.message == "4 mistakes in the files of cases"


def test_the_page_of_the_shipped_rules_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "rule-pack.md"
    result = CliRunner().invoke(command, ["docs", "--check", str(page)])
    assert result.exit_code == 0, f"{result.exception}: run `steersman rules docs --write docs/rule-pack.md`"


def test_a_page_of_ones_own_rules(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "rules:\n  - {rule: a, expr: points > 5.0, severity: info, verdict: spike, explain: 'Seen {points:.0f}.'}\n"
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.yaml").write_text(
        "rules: [../mine.yaml]\ncases:\n  - {name: six rows, series: {loss: 1x9}, expect: [{rule: a, by: 7}]}\n"
        "  - {name: three, series: {loss: 1x3}, expect: [{rule: a, never: true}]}\n"
    )
    target = tmp_path / "page.md"
    result = CliRunner().invoke(command, ["docs", str(tmp_path), "--title", "Mine", "--write", str(target)])
    assert result.exit_code == 0, result.exception
    page = target.read_text()
    assert page.startswith("# Mine\n")
    assert "*Seen ‹points›.*" in page
    assert "**Where it fires**: six rows" in page
    assert "**Where it must not**: three." in page
    target.write_text(page + "more")
    late = CliRunner().invoke(command, ["docs", str(tmp_path), "--title", "Mine", "--check", str(target)])
    assert isinstance(late.exception, CommandError)
    assert late.exception.hint == f"steersman rules docs {tmp_path} --title Mine --write {target}"
