from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steersman.rules.backtest.labels import LabelBook, read_labels
from steersman.rules.packs import PackError
from steersman.rules.recording import Recording
from steersman.rules.samples import Samples
from steersman.rules.verdict import Verdict


def read(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "labels.csv"
    file.write_text(text)
    try:
        return [f"{x.run} {x.verdict} {x.onset} {x.confidence}" for x in read_labels(file)]
    except PackError as error:
        return [str(m).replace(f"{tmp_path}/", "") for m in error.mistakes]


def test_both_shapes_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, "source,verdict,onset_step\na.json,diverged,120\nb.json,healthy,\n\n") == [
        "a.json diverged 120 1.0",
        "b.json healthy None 1.0",
    ]
    assert read(
        tmp_path, 'id,primary,secondary,onset_step,confidence,reason\na,grad_explosion,plateau;diverged,3,0.4,"x, y"\n'
    ) == ["a gradient_explosion 3 0.4"]


def test_every_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    assert read(
        tmp_path, "id,verdict,onset,confidence\na,divergd,,\nb,healthy,x,\n,healthy,,\nb,spike,,7\nb,spike,,\n"
    ) == [
        "labels.csv:2:1: unknown verdict 'divergd' (did you mean 'diverged'?); allowed are healthy, undetermined, "
        "too_short, lr_too_high, lr_too_low, warmup_too_short, decay_too_early, decay_too_late, diverged, nonfinite, "
        "spike, plateau, overfitting, underfitting, gradient_explosion, gradient_vanishing, precision_overflow, "
        "bad_data",
        "labels.csv:3:1: onset must be a number from 0 to 9.0072e+15, found 'x'",
        "labels.csv:4:1: the run has no id",
        "labels.csv:5:1: confidence must be a number from 0 to 1, found '7'",
    ]
    assert read(tmp_path, "name,what\n") == [
        "labels.csv:1:1: the first line names no column 'id' or 'source'",
        "labels.csv:1:1: the first line names no column 'verdict' or 'primary'",
    ]
    assert read(tmp_path, "id,verdict\na,spike\na,healthy\n") == ["labels.csv:3:1: 'a' stands on line 2 already"]


def test_one_fault_shows_in_more_than_one_way(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("id,primary,secondary\na,diverged,overfitting\nb,lr_too_low,\nc,spike_unrecovered,\n")
    a, b, c = read_labels(file)
    assert {Verdict.DIVERGED, Verdict.LR_TOO_HIGH, Verdict.OVERFITTING} < a.right
    assert b.right == {Verdict.LR_TOO_LOW}
    assert Verdict.DIVERGED in c.right


@pytest.mark.parametrize(
    ("run", "source", "name", "there"),
    [
        ("a", "logs/a.json", "a", True),
        ("logs/a", "/data/logs/a.json", "a", True),
        ("a.json", "/data/logs/a.json", "x", True),
        ("my run", "/data/logs/7.json", "my run", True),
        ("a", "/data/a/b.json", "b", False),
    ],
)
def test_a_run_is_found_by_its_path_its_end_or_its_name(
    tmp_path: Path, run: str, source: str, name: str, there: bool
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(f"id,verdict\n{run},healthy\n")
    recording = Recording(source, name, "x", Samples(np.arange(0), np.zeros(0)))
    assert (LabelBook(read_labels(file)).find(recording) is not None) is there
