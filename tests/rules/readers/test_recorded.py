"""Logs of real runs, of eight formats."""

from __future__ import annotations

from pathlib import Path

import pytest

from steersman.rules.readers import ReadError, Wishes, read_runs
from steersman.rules.recording import Recording

pytestmark = pytest.mark.corpus


def read(corpus: str, pattern: str) -> list[Recording]:
    paths = sorted((Path(corpus) / "other").glob(pattern))
    assert paths
    return [run for path in paths for run in read_runs(path, str(path), Wishes())]


@pytest.mark.parametrize(
    ("pattern", "form", "points", "planned", "sets"),
    [
        ("*version-0-metrics.csv", "csv", 2824, 0, 10),
        ("*version-5-metrics.csv", "csv", 1130, 0, 4),
        ("*tfevents*", "tensorboard", 1000, 1000, 0),
        ("*modded-nanogpt*", "modded-nanogpt", 1531, 1530, 14),
        ("bigscience*", "megatron", 62, 1000, 0),
        ("nanogpt*", "nanogpt", 51, 0, 6),
        ("rameyjm7*", "llamafactory", 656, 6566, 0),
    ],
)
def test_formats(corpus: str, pattern: str, form: str, points: int, planned: int, sets: int) -> None:
    (run,) = read(corpus, pattern)
    assert (run.format, len(run.samples), run.facts.planned_steps) == (form, points, planned)
    assert "loss" in run.samples.columns
    evaluations = [c for name, c in run.samples.columns.items() if name.startswith("val_loss")]
    assert sum(int(c.present.sum()) for c in evaluations) == sets


def test_a_log_that_has_no_loss(corpus: str) -> None:
    with pytest.raises(ReadError, match="no column reads as a loss; there are 'current_steps', 'total_steps'"):
        read(corpus, "gi7014*")


def test_every_trainer_state_is_read(corpus: str) -> None:
    paths = sorted((Path(corpus) / "runs").glob("*.json"))
    assert len(paths) > 50
    for path in paths:
        (run,) = read_runs(path, str(path), Wishes())
        assert run.format == "huggingface"
        assert "loss" in run.samples.columns
