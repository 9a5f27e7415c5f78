"""What a comma in a number is told by the whole column, and where that does not tell, by the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.rules.readers.written import one, values

from steersman.rules.readers.numerals import Reading, readings


@pytest.mark.parametrize(
    ("cell", "reading"),
    [
        ("12", Reading(12, 12)),
        ("0.5", Reading(0.5, 0.5, ".")),
        ("1.234", Reading(1.234, 1234)),
        ("0,5", Reading(0.5, 0.5, ",")),
        ("2,5e-3", Reading(2.5e-3, 2.5e-3, ",")),
        ("-1,234", Reading(-1234, -1.234)),
        ("1,234,567", Reading(1234567, 1234567, ".")),
        ("1.234.567", Reading(1234567, 1234567, ",")),
        ("1,234.5", Reading(1234.5, 1234.5, ".")),
        ("1.234,5", Reading(1234.5, 1234.5, ",")),
        ("1,23,456", None),
        ("12,34.5", None),
        ("1,2.5,3", None),
        ("1_000", None),
        ("1,000_000", None),
        ("a,b", None),
        ("1.2.3", None),
    ],
)
def test_cell(cell: str, reading: Reading | None) -> None:
    assert readings(cell) == reading


def table(path: Path, steps: list[str], losses: list[str], mark: str = ",") -> Path:
    rows = [["step", "loss"], *zip(steps, losses, strict=True)]
    path.write_text("".join(mark.join(f'"{cell}"' for cell in row) + "\n" for row in rows))
    return path


def test_steps_that_go_on_behind_a_thousand(tmp_path: Path) -> None:
    steps = [f"{k:,}" for k in range(0, 30_000, 100)]
    run = one(table(tmp_path / "a.csv", steps, [str(4 - k / 100) for k in range(300)]))
    assert run.samples.steps.tolist() == list(range(0, 30_000, 100))


def test_steps_in_thousands_alone_are_told_by_the_losses(tmp_path: Path) -> None:
    steps = [f"{k:,}" for k in range(1000, 30_000, 1000)]
    run = one(table(tmp_path / "a.csv", steps, [f"{4 - k / 100:.2f}" for k in range(29)]))
    assert run.samples.steps.tolist() == list(range(1000, 30_000, 1000))


def test_losses_with_thousands_and_a_point(tmp_path: Path) -> None:
    run = one(table(tmp_path / "a.csv", ["1", "2", "3"], ["2,000.50", "1,000", "999.25"]))
    assert values(run, "loss") == [2000.5, 1000.0, 999.25]


def test_points_between_thousands_and_a_comma_before_decimals(tmp_path: Path) -> None:
    steps = [f"{k:,}".replace(",", ".") for k in range(0, 3_000, 100)]
    losses = [f"{4 - k / 100:.3f}".replace(".", ",") for k in range(30)]
    losses[0] = "1.234,5"
    run = one(table(tmp_path / "a.csv", steps, losses, ";"))
    assert run.samples.steps.tolist() == list(range(0, 3_000, 100))
    assert values(run, "loss") == [1234.5, *[round(4 - k / 100, 2) for k in range(1, 30)]]


def test_a_column_of_three_decimals_each_keeps_its_comma(tmp_path: Path) -> None:
    losses = [f"{4 - k / 100:.3f}".replace(".", ",") for k in range(30)]
    run = one(table(tmp_path / "a.csv", [str(k) for k in range(30)], losses, ";"))
    assert values(run, "loss") == [round(4 - k / 100, 2) for k in range(30)]


def test_three_decimals_behind_a_point_are_no_thousands(tmp_path: Path) -> None:
    run = one(table(tmp_path / "a.csv", ["998", "999", "1,000"], ["2.345", "", "1.999"]))
    assert values(run, "loss") == [2.345, 1.999]


def test_a_column_is_decided_once_however_long_it_is(tmp_path: Path) -> None:
    steps = [f"{k:,}" for k in range(40_000)]
    run = one(table(tmp_path / "a.csv", steps, ["1.5"] * 40_000))
    assert run.samples.steps.tolist() == list(range(40_000))


def test_texts_in_objects_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"step": f"{k:,}", "loss": "2,5"}) + "\n" for k in range(0, 3000, 100)))
    run = one(path)
    assert run.samples.steps.tolist() == list(range(0, 3000, 100))
    assert values(run, "loss") == [2.5] * 30
