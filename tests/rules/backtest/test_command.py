from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from steersman.cli.errors import CommandError
from steersman.cli.rules import command
from steersman.rules.budget import Budget


def log(folder: Path, name: str, zero_rate: bool) -> None:
    rows = [
        {"step": 10 * k, "loss": 4.0 * (k + 1) ** -0.3, "grad_norm": 1.0, "learning_rate": 0.0 if zero_rate else 1e-3}
        for k in range(200)
    ]
    (folder / f"{name}.json").write_text(json.dumps({"log_history": rows}))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    log(folder, "frozen", True)
    log(folder, "fine", False)
    log(folder, "unsure", False)
    (folder / "trainer_state.json").write_text('{"log_history": [')
    (tmp_path / "labels.csv").write_text(
        "id,primary,onset_step,confidence\nfrozen,lr_too_low,0,0.9\nfine,healthy,,0.9\nunsure,healthy,,0.3\n"
    )
    return tmp_path


def call(*words: object) -> Result:
    return CliRunner().invoke(command, ["backtest", *map(str, words)])


def test_a_table_and_what_was_left_out(runs: Path) -> None:
    result = call("--labels", runs / "labels.csv", runs / "runs")
    assert result.exit_code == 3, result.exception
    assert "2 runs, 2 of them labelled" in result.stdout
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("lr_zero ")]
    assert row.split("  ")[0] == "lr_zero"
    assert "1/1 [0.03, 1.00]" in row
    assert "trainer_state.json: " in result.stderr
    assert "1 run left out whose label is not sure enough" in result.stderr


def test_a_label_that_is_of_none_of_the_runs_is_named(runs: Path) -> None:
    labels = runs / "labels.csv"
    labels.write_text(labels.read_text() + "ghost,healthy,,0.9\nfaint ghost,healthy,,0.2\n")
    result = call("--labels", labels, "--json", runs / "runs")
    assert "steersman: 2 labels are of none of the runs: 'ghost', 'faint ghost'\n" in result.stderr
    assert json.loads(result.stdout)["unmatched_labels"] == ["ghost", "faint ghost"]
    assert "fine" not in result.stderr


def test_labels_without_a_run_are_one_line_however_many(runs: Path) -> None:
    labels = runs / "labels.csv"
    result = call("--labels", labels, runs / "runs" / "fine.json", runs / "runs" / "unsure.json")
    assert "steersman: the label 'frozen' is of none of the runs\n" in result.stderr
    labels.write_text(labels.read_text() + "".join(f"ghost {k},healthy,,0.9\n" for k in range(73)))
    result = call("--labels", labels, runs / "runs")
    (line,) = [line for line in result.stderr.splitlines() if "none of the runs" in line]
    told = "73 labels are of none of the runs: 'ghost 0', 'ghost 1', 'ghost 2' and 70 more, which --json names"
    assert line == f"steersman: {told}"


def test_a_rule_that_is_too_slow_is_named(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steersman.rules.engine.Budget", partial(Budget, bound_us=-1.0))
    result = call("--labels", runs / "labels.csv", runs / "runs")
    assert "the rule lr_zero was too slow, and stopped, on 2 runs" in result.stderr


def test_json_alone_on_stdout(runs: Path) -> None:
    result = call("--labels", runs / "labels.csv", "--against", "shipped", "--json", runs / "runs")
    told = json.loads(result.stdout)
    assert told["rules"]["lr_zero"]["precision"] == {
        "count": 1,
        "total": 1,
        "value": 1.0,
        "low": 0.025,
        "high": 1.0,
    } | {"low": told["rules"]["lr_zero"]["precision"]["low"]}
    assert told["verdicts"]["lr_too_low"]["recall"]["count"] == 1
    assert told["comparison"]["differences"] == []
    assert [u["source"].rpartition("/")[2] for u in told["unreadable"]] == ["trainer_state.json"]
    assert {e["run"]: (e["label"], e["verdict"]) for e in told["each"]}["frozen"] == ("lr_too_low", "lr_too_low")


def test_without_labels_what_fired_is_counted(runs: Path) -> None:
    result = call(runs / "runs" / "frozen.json")
    assert "1 run, 0 of them labelled" in result.stdout
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("lr_zero ")]
    assert row.split() == ["lr_zero", "1", "1"]


def test_rates_on_healthy_runs_are_written_where_asked(runs: Path) -> None:
    assert call("--labels", runs / "labels.csv", "--healthy", runs / "h.json", runs / "runs").exit_code == 3
    assert json.loads((runs / "h.json").read_text())["healthy_runs"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs/trainer_state.json"], "none of the runs could be read"),
        (
            ["--labels", "labels.csv", "runs/unsure.json"],
            "all runs were read and left out: their labels are less sure than 0.6",
        ),
        (
            ["--labels", "labels.csv", "runs/unsure.json", "runs/trainer_state.json"],
            "none of the runs is left: 1 could not be read, 1 left out for a label that is not sure enough",
        ),
        (["empty"], "there is no log of a known kind in what is named"),
        (["--healthy", "h.json", "runs"], "nothing says which runs are healthy"),
        (["--labels", "none.csv", "runs"], "1 mistake in the labels"),
        (["--rules", "none.yaml", "runs"], "1 mistake in the rule files"),
    ],
)
def test_what_stands_in_the_way_is_said(
    runs: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(runs)
    (runs / "empty").mkdir()
    result = call(*words)
    assert isinstance(result.exception, CommandError)
    assert result.exception.message == message
