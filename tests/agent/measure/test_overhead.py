"""What has to hold before there is a figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from steersman.agent.measure import overhead
from steersman.agent.measure.ears import Ears
from steersman.agent.measure.errors import MeasureError
from steersman.agent.measure.overhead import measure, steps_of
from steersman.agent.measure.training import CASES, fitted
from steersman.agent.probe import ProbeConfig, current

TINY = replace(CASES["small"], batch=2, block=10)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def ears() -> Iterator[Ears]:
    with Ears() as there:
        yield there


def test_everything_is_counted_and_torch_is_left_as_it_was(ears: Ears) -> None:
    there = torch.autograd.backward
    made: list[int] = []
    report = measure(TINY, "cpu", 2, ears, made.append)
    assert sum(made) == steps_of(TINY, 2)
    assert (report.steps, report.rows, report.norms) == (40, 40, 40)
    assert report.directions == 2
    assert report.bit_identical
    assert report.waits == {}
    assert report.backward is not None
    heard = ears.heard()
    assert heard["small rows"].norms == 0, "each goes on from the optimizer's count, and is at none of its norms"
    assert torch.autograd.backward is there
    assert current() is None


def test_what_the_budget_leaves_is_measured_as_well(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead._Ways, "_settled", lambda ways: (4, 1))
    report = measure(TINY, "cpu", 8, ears)
    assert report.kept is not None
    assert (report.norm_every, report.rows_every) == (4, 1)
    heard = ears.heard()["small kept"]
    # Two blocks of 10 + 40 steps: of each a norm at every fourth, and one direction at the fortieth.
    assert (heard.rows, heard.directions) == (100, 2)
    assert 24 <= heard.norms <= 26


def test_a_budget_that_thins_nothing_has_no_figure_of_its_own(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProbeConfig, "budget_floor", 1.0)
    report = measure(TINY, "cpu", 2, ears)
    assert report.kept is None
    assert (report.norm_every, report.rows_every) == (1, 1)


def test_a_budget_of_nothing_thins_as_far_as_it_goes(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProbeConfig, "budget_floor", 0.0)
    monkeypatch.setattr(overhead, "_JUDGED", 2)
    report = measure(TINY, "cpu", 2, ears)
    assert report.kept is not None
    assert report.norm_every > 1


def test_norms_that_come_where_none_should_are_no_figure(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "leave_norm_out", lambda probe: None)
    with pytest.raises(MeasureError, match="40 norms arrived where none was to be taken"):
        measure(TINY, "cpu", 2, ears)


def test_rows_that_do_not_arrive_are_no_figure(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = ears.heard

    def deaf() -> Any:
        found = heard()
        found["small whole"].rows -= 1
        return found

    monkeypatch.setattr(ears, "heard", deaf)
    with pytest.raises(MeasureError, match="39 rows of 40 arrived: there is nothing to report"):
        measure(TINY, "cpu", 2, ears)


def test_a_process_that_is_watched_already_cannot_be_measured(ears: Ears) -> None:
    from steersman.agent.measure.training import Training

    with (
        overhead.watching("other", ears.path, Training(TINY, "cpu")),
        pytest.raises(MeasureError, match="this process is being watched already: call it without `steersman run`"),
    ):
        measure(TINY, "cpu", 2, ears)


def test_ears_that_cannot_listen_say_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with pytest.raises(MeasureError, match="path too long"), Ears():
        pass
    assert list(deep.iterdir()) == []


def test_a_step_of_about_that_time_is_found() -> None:
    case = fitted(0.7, "cpu")
    assert (case.name, case.model) == ("0.7 ms", "mlp")
    assert fitted(0.0001, "cpu").batch == 1, "what cannot be reached is not"
