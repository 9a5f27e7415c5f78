from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.diagnosis import corpus_part, cost_part, quick, sweep
from benchmarks.diagnosis.quick import Figure, corpus

CORPUS = {"recall": 1.0, "false_alarms": 0, "healthy_with_critical_finding": 0}


@pytest.mark.parametrize(
    ("figure", "good", "words"),
    [
        (Figure("found", 0.75, 0.7), True, "found: 0.750 (at least 0.7)"),
        (Figure("found", 0.65, 0.7), False, "found: 0.650 (at least 0.7)"),
        (Figure("said", 0.05, 0.05, most=True), True, "said: 0.050 (at most 0.05)"),
        (Figure("said", 0.06, 0.05, most=True), False, "said: 0.060 (at most 0.05)"),
        (Figure("said", None, 0.05, most=True), False, "said: nothing to measure it on (at most 0.05)"),
    ],
)
def test_a_figure_is_held_against_its_bound(figure: Figure, good: bool, words: str) -> None:
    assert (figure.good, str(figure)) == (good, words)


def test_a_corpus_that_is_not_there_is_said_to_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(corpus({"left out": "no folder is named"})) == []
    assert capsys.readouterr().out == "corpus left out: no folder is named\n"
    assert all(figure.good for figure in corpus(CORPUS))
    assert not all(figure.good for figure in corpus({**CORPUS, "false_alarms": 1}))


@pytest.mark.parametrize(("share", "code"), [(0.95, 0), (0.5, 1)])
def test_one_figure_out_of_bounds_fails_the_look(
    share: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(corpus_part, "measure", lambda: {**CORPUS, "recall": share})
    monkeypatch.setattr(sweep, "load_sweep", lambda pairs: [])
    monkeypatch.setattr(quick, "rates", lambda pairs: iter([Figure("too low", 0.9, 0.7)]))
    monkeypatch.setattr(quick, "harm", lambda processes, pairs: iter([Figure("spike", 0.9, 0.7)]))
    monkeypatch.setattr(cost_part, "measure", lambda runs, count: {"us_a_row": 20.0})
    assert quick.quick(1) == code
    told = capsys.readouterr()
    assert "spike: 0.900 (at least 0.7)" in told.out
    assert told.err == ("failed: corpus: faults found\n" if code else "")


def test_what_has_to_pass_before_a_change_lands_takes_the_short_look() -> None:
    run = (Path(__file__).parents[3] / ".ci" / "run").read_text()
    assert "make bench-diagnosis ARGS=--quick" in run
