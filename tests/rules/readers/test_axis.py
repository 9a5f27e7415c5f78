from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.rules.readers.written import one, values


def table(path: Path, header: str, rows: Sequence[tuple[object, ...]]) -> Path:
    file = path / "a.csv"
    file.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]))
    return file


def test_steps_that_begin_anew_with_each_epoch_are_counted_on(tmp_path: Path) -> None:
    rows = [(epoch, batch, 1.0) for epoch in range(3) for batch in range(0, 50, 10)]
    run = one(table(tmp_path, "epoch,batch,loss", rows))
    assert run.samples.steps.tolist() == list(range(0, 150, 10))
    assert any("begins anew" in note for note in run.notes)


def test_a_resumed_job_goes_back_and_is_left_so(tmp_path: Path) -> None:
    rows = [(step, 1.0) for step in [*range(100), *range(60, 120)]]
    run = one(table(tmp_path, "step,loss", rows))
    assert run.samples.steps.tolist() == [*range(100), *range(60, 120)]
    assert not run.notes


def test_disorder_is_put_in_order(tmp_path: Path) -> None:
    steps = [step ^ 1 for step in range(60)]
    run = one(table(tmp_path, "step,loss", [(step, float(step)) for step in steps]))
    assert run.samples.steps.tolist() == list(range(60))
    assert values(run, "loss") == [float(step) for step in range(60)]


@pytest.mark.parametrize(
    ("header", "words"), [("epoch,loss", "epochs stand for steps"), ("a,loss", "rows are counted")]
)
def test_without_a_step(tmp_path: Path, header: str, words: str) -> None:
    run = one(table(tmp_path, header, [(k, 1.0) for k in range(4)]))
    assert run.samples.steps.tolist() == [0, 1, 2, 3]
    assert any(words in note for note in run.notes)


def test_several_losses_of_one_step_are_several_points(tmp_path: Path) -> None:
    run = one(table(tmp_path, "step,loss", [(1, 1.0), (1, 2.0), (2, 3.0), (3, 4.0), (4, 4.0), (5, 4.0), (6, 4.0)]))
    assert run.samples.steps.tolist() == [1, 1, 2, 3, 4, 5, 6]


def test_nan_that_comes_and_goes_is_a_gap_and_nan_that_stays_is_none(tmp_path: Path) -> None:
    gaps = one(table(tmp_path, "step,loss", [(k, "nan" if k % 2 else 1.0) for k in range(40)]))
    assert len(gaps.samples.columns["loss"].values) == 20
    broken = one(table(tmp_path, "step,loss", [(k, "nan" if k > 19 else 1.0) for k in range(40)]))
    assert sum(v != v for v in values(broken, "loss") if v is not None) == 20


def test_numbers_that_are_no_steps(tmp_path: Path) -> None:
    run = one(table(tmp_path, "step,loss", [(17 * 10**17 + k, 2.0 - k / 10) for k in range(9)]))
    assert run.samples.steps.tolist() == list(range(9))
    assert run.notes == ("'step' has no number that can be a step: rows are counted instead",)
