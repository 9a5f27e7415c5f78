"""`make bench`: a part that fails says so and loses nothing of the others."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import benchmarks.__main__ as bench
import pytest
from benchmarks.page import SECTIONS, page

FIXED = {
    "report": {
        f"{part}_{kind}": 1.5 for part in ("step", "backward", "norm") for kind in ("us", "least_us")
    }
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(bench, "PAGE", tmp_path / "benchmarks.md")
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    try:
        bench.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def fails(quick: bool) -> dict[str, Any]:
    raise bench.PartFailedError("it ended with exit code 3: no ptrace here")


def test_a_part_that_fails_keeps_what_was_and_the_others(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {"leak": {"when": "yesterday", "machine": "m", "reports": []}}
    bench.RESULTS.write_text(json.dumps(before))
    for name in ("attach", "leak"):
        monkeypatch.setitem(bench.BENCHES, name, fails)
    monkeypatch.setitem(bench.BENCHES, "fixed", lambda quick: FIXED)
    assert call(monkeypatch, "--only", "attach", "--only", "leak", "--only", "fixed") == 1
    assert "failed: attach, leak (one alone: make bench ARGS='--only attach')" in capsys.readouterr().err
    kept = json.loads(bench.RESULTS.read_text())
    assert kept["leak"]["when"] == "yesterday"
    assert kept["fixed"]["report"] == FIXED["report"]
    text = bench.PAGE.read_text()
    assert text.count("it ended with exit code 3: no ptrace here**") == 2
    assert "| norm and direction besides, a step | 1.5 | 1.5 |" in text
    assert "Not measured yet: `make bench ARGS='--only waits'`." in text
    monkeypatch.setitem(bench.BENCHES, "attach", lambda quick: {"report": {}})
    assert call(monkeypatch, "--only", "attach") == 0
    assert "failed" not in json.loads(bench.RESULTS.read_text())["attach"]
    assert "has another shape" in bench.PAGE.read_text(), "figures that cannot be read do not take the page with them"


def test_quick_touches_nothing(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(bench.BENCHES, "fixed", lambda quick: FIXED if quick else {})
    assert call(monkeypatch, "--quick", "--only", "fixed") == 0
    assert list(files.iterdir()) == []
    assert "| norm and direction besides, a step | 1.5 | 1.5 |" in capsys.readouterr().out


def test_a_script_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text("import sys\nprint('[1]')\nprint('first', file=sys.stderr)\nsys.exit('no room')\n")
    with pytest.raises(bench.PartFailedError, match="ended with exit code 1: no room"):
        bench.run(str(script))
    assert bench.run(str(script), codes=(1,)) == [[1]]
    script.write_text("print('no figures')\n")
    with pytest.raises(bench.PartFailedError, match="exit code 0: it said nothing"):
        bench.run(str(script))


def test_a_tracker_that_fails_leaves_the_others(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = {"us": 50.0, "quartiles_us": [1, 2], "low_us": 3, "percent": 5.0, "quartiles_percent": [1, 2]}
    report = {
        **{"case": "small", "step_ms": 1.0, "step_low_ms": 0.9, "bit_identical": True, "waits": {}},
        **{"without_norm": figure, "whole": figure, "backward": None},
        "trackers": {"wandb offline": {"error": "ImportError: a|b"}, "trackio": {**figure, "us": 100.0}},
    }
    monkeypatch.setitem(bench.BENCHES, "probe", lambda quick: {"reports": [report]})
    assert call(monkeypatch, "--only", "probe") == 1
    assert "wandb offline FAILED on the small loop: ImportError: a|b" in capsys.readouterr().err
    text = bench.PAGE.read_text()
    assert "| wandb offline | failed: ImportError: a/b | | | | | |" in text
    assert "| trackio | 100 | 1 to 2 | 3 | 5.00 | 1.00 to 2.00 | 2.0 |" in text
    assert "the patch on" not in text.split("| small")[-1]
    assert "Synchronising operations added in 40 steps of each: 0." in text


def test_the_page_has_each_part() -> None:
    assert list(bench.BENCHES) == list(SECTIONS)
    assert page({}).count("Not measured yet") == len(SECTIONS)
    kept = page(json.loads(bench.RESULTS.read_text()))
    assert "another shape" not in kept
    assert bench.PAGE.read_text() == kept, "python -m benchmarks --write"
