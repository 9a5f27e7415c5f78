from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from steersman.rules.backtest import healthy
from steersman.rules.backtest.backtest import Backtest
from steersman.rules.backtest.labels import Label
from steersman.rules.backtest.score import accuracy
from steersman.rules.engine import Engine
from steersman.rules.facts import JobFacts
from steersman.rules.packs import Pack, load_pack
from steersman.rules.recording import Recording
from steersman.rules.samples import Column, Samples
from steersman.rules.verdict import Verdict

RULE = "  - {{rule: {name}, expr: loss > {over}, severity: warning, verdict: {verdict}, explain: text}}\n"


def pack(tmp_path: Path, **rules: tuple[float, str]) -> Pack:
    file = tmp_path / f"{'-'.join(rules)}.yaml"
    file.write_text("rules:\n" + "".join(RULE.format(name=n, over=o, verdict=v) for n, (o, v) in rules.items()))
    return load_pack([file])


def run(name: str, peak: float, at: int = 100, stays: bool = True, every: int = 10) -> Recording:
    loss = np.full(200, 1.0) + 0.01 * np.sin(np.arange(200))
    loss[at : 200 if stays else at + 8] = peak
    steps = every * np.arange(200)
    return Recording(
        f"logs/{name}.json", name, "test", Samples(steps, steps.astype(np.float64), {"loss": Column.full(loss)})
    )


def label(name: str, verdict: Verdict, onset: int | None = None) -> Label:
    return Label(name, verdict, frozenset({verdict}), onset)


def filled(tmp_path: Path, against: Pack | None = None) -> Backtest:
    backtest = Backtest(pack(tmp_path, over=(3.0, "precision_overflow"), twice=(2.0, "spike")), against)
    backtest.add(run("bad", 5.0), label("bad", Verdict.PRECISION_OVERFLOW, 990))
    backtest.add(run("missed", 2.5), label("missed", Verdict.PRECISION_OVERFLOW, 990))
    backtest.add(run("false", 4.0, stays=False), label("false", Verdict.HEALTHY))
    backtest.add(run("fine", 1.0), label("fine", Verdict.HEALTHY))
    backtest.add(run("nobody knows", 9.0), None)
    return backtest


def test_the_figures_of_a_rule_are_those_that_can_be_counted_by_hand(tmp_path: Path) -> None:
    over, twice = filled(tmp_path).rule_scores()
    assert (over.name, over.verdict) == ("over", Verdict.PRECISION_OVERFLOW)
    assert (over.precision.count, over.precision.total) == (1, 2)
    assert (over.recall.count, over.recall.total) == (1, 2)
    assert (over.healthy_runs.count, over.healthy_runs.total) == (1, 2)
    # 200 rows, one every 10 steps: two healthy runs of 1,991 steps.
    assert (over.healthy_steps.count, over.healthy_steps.exposure) == (1, 3982)
    assert (over.healthy_points.count, over.healthy_points.exposure) == (1, 400)
    # It begins at row 100 and is seen at the check of row 103.
    assert over.delays == (1030 - 990,)
    assert over.delay == 40
    assert (twice.precision.count, twice.precision.total) == (0, 3)
    assert twice.delay is None


def test_verdicts_are_those_of_the_diagnosis_at_the_end(tmp_path: Path) -> None:
    backtest = filled(tmp_path)
    found = {s.name: s for s in backtest.verdict_scores()}
    assert (found["precision_overflow"].precision.count, found["precision_overflow"].precision.total) == (1, 1)
    assert (found["precision_overflow"].recall.count, found["precision_overflow"].recall.total) == (1, 2)
    assert found["precision_overflow"].healthy_runs.count == 0
    faulty, left_alone = accuracy(backtest.judged())
    assert (faulty.count, faulty.total) == (1, 2)
    assert (left_alone.count, left_alone.total) == (2, 2)


def test_a_run_is_judged_as_the_live_engine_judges_it(tmp_path: Path) -> None:
    backtest = filled(tmp_path)
    recording = run("bad", 5.0)
    engine = Engine(backtest.pack, JobFacts())
    engine.feed(recording.samples)
    outcome = backtest.trials[0].outcome
    assert outcome.verdict is engine.diagnose().verdict
    assert {f.rule: (f.first_step,) for f in engine.findings()} == outcome.fired


def test_two_sets_are_compared_run_by_run(tmp_path: Path) -> None:
    backtest = filled(tmp_path, pack(tmp_path, lower=(2.0, "precision_overflow")))
    found = backtest.comparison()
    assert found is not None
    assert (found.runs, found.labelled) == (5, 4)
    differ = {d.first.name: d for d in found.differences}
    assert set(differ) == {"bad", "missed", "false", "nobody knows"}
    assert differ["missed"].better == 1
    assert differ["bad"].better == 0
    assert differ["nobody knows"].better == 0
    assert (found.first_only, found.second_only, found.p) == (0, 1, 1.0)


def test_without_a_second_set_there_is_no_comparison(tmp_path: Path) -> None:
    assert filled(tmp_path).comparison() is None


def test_rates_on_healthy_runs_are_kept_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "healthy.json"
    healthy.write(file, *filled(tmp_path).healthy())
    rate = healthy.read(file)["over"]
    assert (rate.runs.count, rate.runs.total, rate.steps.count, rate.steps.exposure) == (1, 2, 1, 3982)
    assert str(rate) == (
        "on 1 of 2 healthy runs (1.3 % to 98.7 %), 1 time in 3,982 steps: 0.25 per 1,000 (0.0064 to 1.4)"
    )


ASKING = """
rules:
  - {rule: evaluated, expr: v_gain > 5.0, severity: info, verdict: overfitting, explain: text}
  - {rule: undirected, expr: up > 0.5 && !known(c), severity: info, verdict: plateau, explain: text}
  - {rule: plain, expr: up > 0.5 && (c < 0.0 || !known(c)), severity: info, verdict: diverged, explain: text}
  - {rule: moment, expr: breakout > 0.5, severity: info, verdict: diverged, explain: text}
"""


def test_a_rule_is_only_measured_on_runs_that_have_what_it_reads(tmp_path: Path) -> None:
    (tmp_path / "asking.yaml").write_text(ASKING)
    backtest = Backtest(load_pack([tmp_path]))
    bare, directed = run("bare", 1.0), run("directed", 1.0)
    columns = {"hypergrad_cos": Column.full(np.full(200, 0.1)), "update_norm": Column.full(np.full(200, 0.1))}
    samples = directed.samples
    directed = dataclasses.replace(
        directed, samples=dataclasses.replace(samples, columns={**samples.columns, **columns})
    )
    # Only where the loss breaks out is it known how far: it could have on runs that have the same series.
    for one in (bare, directed, run("peak", 3.0, stays=False)):
        backtest.add(one, label(one.name, Verdict.HEALTHY))
    file = tmp_path / "healthy.json"
    healthy.write(file, *backtest.healthy())
    rates = healthy.read(file)
    assert {name: rate.runs.total for name, rate in rates.items()} == {
        "evaluated": 0,
        "undirected": 2,
        "plain": 3,
        "moment": 2,
    }
    assert str(rates["undirected"]).startswith(
        "on 1 of 2 healthy runs that have what it reads, of 3 (1.3 % to 98.7 %), 1 time"
    )
    assert (rates["evaluated"].short, rates["evaluated"].measured) == ("not measured", False)
    assert str(rates["evaluated"]) == "not measured: none of the 3 healthy runs has what it reads"


@pytest.mark.parametrize("text", ["", "[]", '{"healthy_runs": 1}', '{"healthy_runs":1,"healthy_steps":2,"rules":[]}'])
def test_a_file_of_another_shape_is_no_rate(tmp_path: Path, text: str) -> None:
    (tmp_path / "healthy.json").write_text(text)
    assert healthy.read(tmp_path / "healthy.json") == {}
    assert healthy.read(tmp_path / "none.json") == {}
