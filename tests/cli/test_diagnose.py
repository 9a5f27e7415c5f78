from __future__ import annotations

import json
import math
import os
import re
import sqlite3
from contextlib import closing
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from steersman.cli.diagnose import command
from steersman.cli.errors import CommandError, ExitCode, UsageError
from steersman.rules.budget import Budget

KEYS = {
    "run", "source", "steps", "verdict", "confidence", "onset_step", "recommended_lr", "findings", "for", "against",
    "prescription", "lr_is_the_lever", "would_refute", "what_to_do", "format", "read_as", "planned_steps", "optimizer",
    "notes",
}  # fmt: skip


def written(path: Path, losses: list[float], name: str = "loss") -> Path:
    path.write_text("".join(json.dumps({"step": k, name: v, "lr": 1e-3}) + "\n" for k, v in enumerate(losses)))
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    losses = 4.0 * np.arange(1, 401) ** -0.35 * np.exp(0.02 * rng.standard_normal(400))
    return written(tmp_path / "good.jsonl", losses.tolist())


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    losses = (4.0 * np.arange(1, 301) ** -0.3).tolist()
    return written(tmp_path / "bad.jsonl", losses + [float("nan")] * 20)


def diagnose(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], env={"COLUMNS": "110", "NO_COLOR": "1"})


def objects(result: Result) -> list[dict[str, Any]]:
    def refuse(literal: str) -> None:
        raise AssertionError(f"{literal} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in result.stdout.splitlines()]


def test_json_has_the_documented_shape(good: Path, bad: Path) -> None:
    result = diagnose("--json", good, bad)
    first, second = objects(result)
    assert set(first) == set(second) == KEYS
    assert (first["run"], first["source"], first["steps"]) == ("good", str(good), 400)
    assert first["verdict"] in ("healthy", "undetermined")
    assert second["verdict"] == "nonfinite"
    assert 295 <= second["onset_step"] <= 305
    finding = second["findings"][0]
    assert set(finding) == {"rule", "severity", "first_step", "last_step", "evidence", "episodes"}
    assert [set(episode) for episode in finding["episodes"]] == [{"first_step", "last_step", "severity"}]
    assert finding["severity"] == "critical"
    assert second["format"] == "jsonl"
    assert second["read_as"] == {"step": "step", "loss": "loss", "lr/0": "lr"}


def test_a_rule_that_fires_again_is_told_with_each_time(tmp_path: Path) -> None:
    losses = (4.0 * np.arange(1, 501) ** -0.3).tolist()
    losses[100:105] = losses[300:305] = [float("nan")] * 5
    again = written(tmp_path / "again.jsonl", losses)
    (run,) = objects(diagnose("--json", again))
    (finding,) = [f for f in run["findings"] if f["rule"] == "nonfinite_loss"]
    assert [(e["first_step"], e["last_step"]) for e in finding["episodes"]] == [(100, 104), (300, 304)]
    assert (finding["first_step"], finding["last_step"]) == (300, 304), "the last of them"
    page = tmp_path / "page.html"
    text = diagnose("--html", page, again).stdout
    assert "step 300 to 304, 2 times since 100" in text
    assert "step 300 to 304, 2 times since 100" in page.read_text(encoding="utf-8")


def test_a_finding_that_lasts_is_told_as_it_stands(tmp_path: Path) -> None:
    losses = (4.0 * np.arange(1, 101) ** -0.3).tolist() + [float("nan")] * 1600
    assert "The loss is not a number, 1600 time(s) in a row." in diagnose(written(tmp_path / "a.jsonl", losses)).stdout


def test_what_was_loud_and_is_over_is_told_beside_the_verdict(tmp_path: Path) -> None:
    losses = 4.0 * np.arange(1, 601) ** -0.35 * np.exp(0.02 * np.random.default_rng(1).standard_normal(600))
    losses[300:305] = math.nan
    path = written(tmp_path / "once.jsonl", losses.tolist())
    [told] = objects(diagnose("--json", path))
    assert told["verdict"] == "healthy"
    assert told["what_to_do"] is None
    assert any(f["severity"] != "info" for f in told["findings"])
    for words in (diagnose(path), diagnose(path, path, "--all")):
        assert "nothing wrong to be seen; earlier: " in words.stdout


def test_what_to_do_is_told_by_the_rules(bad: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    [told] = objects(diagnose("--json", bad, "--html", page))
    assert told["what_to_do"].startswith("1. ")
    first = told["what_to_do"].splitlines()[0]
    assert "what to do" in diagnose(bad).stdout
    assert first[:40] in diagnose(bad).stdout
    assert first[:40] in page.read_text()


def test_standard_input_is_said_not_to_be_read() -> None:
    result = diagnose("--json", "-")
    assert result.exit_code == 3
    assert objects(result)[0]["error"] == "standard input is not read: write it into a file, and name that"


def test_a_format_that_there_is_not_is_told_with_those_there_are(good: Path) -> None:
    assert "'mp3' is not one of 'huggingface', " in diagnose("--format", "mp3", good).stderr


def test_exit_codes(good: Path, bad: Path, tmp_path: Path) -> None:
    none = tmp_path / "none.csv"
    assert diagnose("--json", good).exit_code == 0
    assert diagnose("--json", bad, good).exit_code == 1
    assert diagnose("--json", good, none).exit_code == 3
    assert diagnose("--json", none, bad).exit_code == 1
    assert diagnose().exit_code == 2
    assert diagnose("--format", "abc", good).exit_code == 2


def test_what_cannot_be_read_stops_none_of_the_others(good: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{"log_history": [')
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    folder = tmp_path / "nothing"
    folder.mkdir()
    result = diagnose("--json", broken, empty, folder, tmp_path / "none", good)
    said = objects(result)
    assert [set(one) for one in said[:4]] == [{"source", "error", "verdict"}] * 4
    assert [one["verdict"] for one in said[:4]] == [None] * 4
    assert "not JSON, or cut off" in said[0]["error"]
    assert said[1]["error"] == "it is empty"
    assert "no log of a known kind is in it" in said[2]["error"]
    assert said[3]["error"] == "there is no such file"
    assert said[4]["run"] == "good"


def test_what_may_not_be_read_stops_none_of_the_others(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    result = diagnose("--json", closed, closed / "run.csv", good)
    assert result.exit_code == 3
    assert objects(result)[-1]["run"] == "good"
    if os.geteuid():
        assert [one["error"] for one in objects(result)[:2]] == [
            "cannot be searched: Permission denied",
            "you may not read it",
        ]


def database(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as made:
        for statement in statements:
            made.execute(statement)
        made.commit()
    return path


def test_databases_of_others(good: Path, tmp_path: Path) -> None:
    for name, table in (("other.db", "a"), ("empty?#.db", "b"), ("runs.db", "runs")):
        database(tmp_path / name, f"CREATE TABLE {table} (x)")
    old = database(tmp_path / "old.db", *(f"CREATE TABLE {name} (x)" for name in ("runs", "metrics", "params")))
    said = [str(one.get("error")) for one in objects(diagnose("--json", *sorted(tmp_path.glob("*.db"))))]
    assert said[1].startswith("MLflow's database cannot be read: no such ")
    (tmp_path / "torn.db").write_bytes(b"SQLite format 3\0" + bytes(40))
    torn = objects(diagnose("--json", tmp_path / "torn.db"))
    assert str(torn[0]["error"]).startswith("an SQLite database that cannot be looked into (")
    (tmp_path / "torn.db").unlink()
    absent = objects(diagnose("--json", "--format", "mlflow", tmp_path / "absent.db"))
    assert absent[0]["error"] == "there is no such file"
    assert said[0] == said[2] == said[3] == "it is an SQLite database, but no store of Steersman's"
    old.unlink()
    assert [one["run"] for one in objects(diagnose("--json", tmp_path))] == ["good"]


MLFLOW = (
    "CREATE TABLE runs (run_uuid, name, lifecycle_stage, start_time)",
    "CREATE TABLE tags (key, value, run_uuid)",
    "CREATE TABLE params (key, value, run_uuid)",
    "CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan)",
    "INSERT INTO runs VALUES ('b', 'second', 'active', 2), ('a', '', 'active', 1), ('c', 'x', 'deleted', 3),"
    " ('d', 'nothing', 'active', 4)",
    "INSERT INTO tags VALUES ('mlflow.runName', 'first', 'a')",
    "INSERT INTO params VALUES ('optimizer', 'AdamW', 'b')",
)


def logged(run: str, key: str, step: int, value: float, nan: int = 0) -> str:
    return f"INSERT INTO metrics VALUES ('{key}', {value!r}, {1000 * step}, '{run}', {step}, {nan})"


def test_the_database_of_mlflow_holds_all_its_runs(good: Path, tmp_path: Path) -> None:
    rows = [logged(run, "train_loss", k, 1 / (k + 1) + 0.1) for run in "abc" for k in range(200)]
    rows += [logged("b", "train_loss", k, 0.0, 1) for k in range(200, 260)]
    rows += [logged("a", "train_loss", 200, 1.7976931348623157e308)]
    # A second metric that is written at another pace.
    rows += [logged("b", "lr", k, 0.5) for k in range(0, 260, 7)]
    made = database(tmp_path / "mlflow.db", *MLFLOW, *rows)
    for where in (made, tmp_path):
        found = {str(one["run"]): one for one in objects(diagnose("--json", where)) if one["format"] == "mlflow"}
        assert list(found) == ["first", "second"]
        assert found["first"]["steps"] == 201
        assert found["second"]["optimizer"] == "AdamW"
        assert found["second"]["verdict"] == "nonfinite"
    assert [one["run"] for one in objects(diagnose("--json", "--format", "mlflow", tmp_path))] == ["first", "second"]
    none = objects(diagnose("--json", "--format", "csv", tmp_path))
    assert str(none[0]["error"]).startswith("no log of a known kind")


def test_what_is_odd_in_the_database_of_mlflow_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [logged(run, "train_loss", k, 1 / (k + 1) + 0.1) for run in "ab" for k in range(100)]
    rows += [logged("d", "accuracy", k, 0.5) for k in range(100)]
    rows += [
        "INSERT INTO metrics VALUES ('lr', 'much', 1, 'b', 1, 0), ('lr', 1.0, NULL, 'b', 1, 0)",
        "INSERT INTO metrics VALUES ('lr', NULL, 1, 'b', 1, 0)",
        "INSERT INTO runs VALUES ('e', NULL, 'active', 9), ('f', x'ff', 'active', 10)",
        "INSERT INTO metrics VALUES ('train_loss', 'none', 1, 'e', 1, 0)",
        logged("f", "train_loss", 0, 1.0),
    ]
    made = database(tmp_path / "mlflow.db", *MLFLOW, *rows)
    found = objects(diagnose("--json", made))
    assert [one.get("run") for one in found] == ["first", "second", "b'\\xff'", None]
    assert "3 values are no points: left out" in str(found[1]["notes"])
    assert str(found[3]).count("nothing") == 1, "a run without a loss is said"
    monkeypatch.setattr("steersman.rules.readers.mlflowdb.MAX_RUNS", 4)
    assert "the newest 4 of 5 runs are read" in str(objects(diagnose("--json", made))[0]["notes"])


def test_an_infinite_loss_does_not_set_the_scale_of_the_page(tmp_path: Path) -> None:
    log, page = tmp_path / "a.csv", tmp_path / "page.html"
    log.write_text("step,loss\n" + "".join(f"{k},{'inf' if k == 50 else k / 100 - 0.2}\n" for k in range(100)))
    diagnose("--html", page, log)
    assert "e300" not in page.read_text()


def test_report(bad: Path) -> None:
    result = diagnose(bad)
    assert "loss or gradient is not a number  confidence 100 %, since step " in result.output
    assert "◆  nonfinite_loss  step 300 on" in result.output
    assert "would refute it" in result.output
    assert "jsonl, 320 points over steps 0 to 319; read as: step = 'step', loss = 'loss', lr/0 = 'lr'" in result.output
    assert re.search("[⠁-⣿]", result.output), "there is no curve"
    assert max(map(len, result.output.splitlines())) <= 110


def test_many_runs_are_a_table_first(good: Path, bad: Path, tmp_path: Path) -> None:
    result = diagnose(good, bad, tmp_path / "none")
    head, _, rest = result.output.partition("─" * 20)
    assert "RUN" in head
    assert "3 runs" not in head
    assert "2 runs, 1 with a critical finding, 1 could not be read" in head
    assert "there is no such file" in head
    assert "read as" not in head
    assert rest.count("read as") == 1, "the run without findings is reported, too"
    assert "--all shows the reports of the others" in rest
    assert diagnose("--all", good, bad).output.count("read as") == 2


def test_a_folder_is_searched(good: Path, bad: Path) -> None:
    said = objects(diagnose("--json", good.parent))
    assert [(one["run"], one["source"]) for one in said] == [("bad", str(bad)), ("good", str(good))]


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    folder = tmp_path / "messy"
    (folder / "run").mkdir(parents=True)
    written(folder / "good.jsonl", [3.0 - k / 100 for k in range(100)])
    written(folder / "ce.jsonl", [3.0 - k / 100 for k in range(100)], "ce")
    (folder / "a.csv.gz").write_bytes(b"\x1f\x8b\x08\x00\x00")
    (folder / "cut.json").write_text('{"log_history": [\n{"step": 1, "loss": 2.0},\n{"st')
    (folder / "cut.jsonl").write_text('{"step": 1, "lo')
    for name in ("metrics.csv", "run-1.wandb", "trainer_state.json"):
        (folder / "run" / name).touch()
    (folder / "header.csv").write_text("step,loss\n")
    # None of these looks like a log.
    (folder / "prices.csv").write_text("day,price\n1,2\n")
    (folder / "config.json").write_text('{\n "lr": 1\n}')
    (folder / "results.json").write_text('{\n "loss": [1, 2]\n}')
    (folder / "notes.txt").write_text("the loss was low\n")
    (folder / "words.jsonl").write_text('{"text": "a"}\n')
    (folder / "train.py").write_text("loss.backward()\n")
    (folder / "curve.png").write_bytes(b"\x89PNG\r\n")
    return folder


def test_what_is_passed_over_in_a_folder_is_said(messy: Path, tmp_path: Path) -> None:
    result = diagnose("--json", messy)
    assert result.exit_code == 0, "nobody named these files"
    good, *passed = objects(result)
    assert good["run"] == "good"
    assert all(set(one) == {"source", "error", "verdict", "passed_over"} and one["passed_over"] for one in passed)
    said = {Path(one["source"]).relative_to(messy).as_posix(): one["error"].split(";")[0] for one in passed}
    said["cut.json"] = said["cut.json"].partition(":")[0]
    assert said == {
        "a.csv.gz": "a damaged gzip: nothing of it can be unpacked",
        "ce.jsonl": "no column reads as a loss",
        "cut.json": "not JSON, or cut off",
        "cut.jsonl": "no line of it is a JSON object",
        "header.csv": "it has a header and no row",
        "run/metrics.csv": "it is empty",
        "run/run-1.wandb": "it is empty",
        "run/trainer_state.json": "it is empty",
    }
    page = tmp_path / "page.html"
    text = diagnose("--html", page, messy).stdout
    assert f"8 passed over:\n  {messy}/a.csv.gz: a damaged gzip" in text
    assert text.endswith("  and 3 more, which --json names\n")
    assert "8 passed over" in page.read_text()


def test_a_folder_of_what_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").touch()
    result = diagnose(tmp_path)
    assert result.exit_code == 3
    assert "no log of a known kind is in it" in " ".join(result.stdout.split())
    assert f"1 passed over:\n  {tmp_path}/metrics.csv: it is empty" in result.stdout


def test_columns_are_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [3.0 - k / 100 for k in range(100)], "mine")
    assert "no column reads as a loss" in objects(diagnose("--json", path))[0]["error"]
    (said,) = objects(diagnose("--json", "--column", "loss=mine", "--planned-steps", 500, "--optimizer", "Lion", path))
    assert (said["read_as"]["loss"], said["planned_steps"], said["optimizer"]) == ("mine", 500, "Lion")


@pytest.mark.parametrize(
    ("word", "message"), [("loss", "--column 'loss' has no '='"), ("los=x", "--column: there is no series 'los'")]
)
def test_columns_that_are_told_wrongly(good: Path, word: str, message: str) -> None:
    result = diagnose("--column", word, good)
    assert isinstance(result.exception, CommandError)
    assert (result.exception.message, result.exception.code) == (message, ExitCode.USAGE)


def test_a_rule_that_is_too_slow_is_named(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steersman.rules.engine.Budget", partial(Budget, bound_us=-1.0))
    (told,) = objects(diagnose("--json", good))
    assert any(note.startswith("the rule blow_up was stopped at step ") for note in told["notes"])
    assert "note: the rule blow_up was stopped" in " ".join(diagnose(good).output.split())


def test_own_rules(good: Path, bad: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    file = rules / "mine.yaml"
    file.write_text(
        "rules:\n  - {rule: mine, expr: points > 60.0, severity: critical, verdict: plateau, explain: 'x'}\n"
    )
    result = diagnose("--json", "--rules", rules, good)
    assert (objects(result)[0]["findings"][0]["rule"], result.exit_code) == ("mine", 1)
    both = diagnose("--json", "--rules", rules, "--rules", "shipped", bad)
    assert {"mine", "nonfinite_loss"} <= {f["rule"] for f in objects(both)[0]["findings"]}
    result = diagnose("--rules", tmp_path / "absent", good)
    assert isinstance(result.exception, CommandError)
    assert result.exception.code is ExitCode.USAGE
    assert "absent" in result.stderr
    file.write_text("rules:\n  - {rule: mine, expr: what > 60.0, severity: critical, verdict: plateau, explain: 'x'}\n")
    result = diagnose("--rules", rules, good)
    assert isinstance(result.exception, CommandError)
    assert result.exception.code is ExitCode.USAGE


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_one_page_that_needs_nothing(good: Path, bad: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    result = diagnose("--html", file, good, bad, tmp_path / "none")
    assert f"{file} written" in result.stderr
    text = file.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert not page.open
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert all(link.startswith("#run-") for link in page.links)
    assert page.tags.count("svg") == 4
    assert page.tags.count("section") == 3
    assert "nan" not in " ".join(re.findall(r' d="([^"]*)"', text))
    assert "prefers-color-scheme:dark" in text


def test_html_and_terminal_show_names_as_they_are_and_no_more(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>\x1b[31m&"
    losses = [4.0 / (k + 1) for k in range(80)]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"run": name, "step": k, "loss": v}) + "\n" for k, v in enumerate(losses)))
    with path.open("a") as file:
        file.write("".join(json.dumps({"run": "b", "step": k, "loss": v}) + "\n" for k, v in enumerate(losses)))
    page = tmp_path / "x.html"
    result = diagnose("--html", page, path)
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in text
    assert "\x1b" not in text + result.output


def test_html_that_cannot_be_written(good: Path, tmp_path: Path) -> None:
    result = diagnose("--html", tmp_path / "no" / "x.html", good)
    assert isinstance(result.exception, UsageError), "not the exit code of a critical finding"
    assert "cannot be written" in result.exception.message
    assert "nothing wrong to be seen" in result.output, "the report is not lost"
