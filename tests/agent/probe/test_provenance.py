"""Somebody asks where the numbers of a sample come from: it is found out for one round, and for no other."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.agent.probe.loops.accumulated import Accumulated
from tests.agent.probe.loops.clipped import Clipped
from tests.agent.probe.loops.closures import Closure
from tests.agent.probe.loops.loop import Loop
from tests.agent.probe.loops.scaled import Scaled, ScaledSkipping
from tests.agent.probe.loops.several import Gan

from steersman.agent.probe import packet
from steersman.agent.probe.provenance import caller

HERE = Path(__file__).name


def ask(receiver: Any, identity: str = "q-1") -> None:
    receiver.take()
    receiver._connections[-1].send(packet.pack_json(packet.ASK, {"id": identity}))


def answered(receiver: Any, step: Callable[[], Any]) -> dict[str, Any]:
    """The answer, and where its numbers came from by series."""
    deadline = time.monotonic() + 60
    while not (answers := receiver.of(packet.ANSWER)):
        assert time.monotonic() < deadline
        step()
    (answer,) = answers
    (row,) = [row for row in receiver.take().rows if row["step"] == answer["step"]]
    for series, value, _ in answer["sources"]:
        assert value == row.get(series, None), series
    return {**answer, "words": {series: words for series, _, words in answer["sources"]}}


def asked(loop: Any, receiver: Any) -> dict[str, str]:
    loop.round()
    ask(receiver)
    words: dict[str, str] = answered(receiver, loop.round)["words"]
    return words


def line_of(text: str) -> int:
    """Where this file says that for the first time."""
    return next(n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if text in line)


class Small:
    """A script: the lines that it should be told are marked."""

    def __init__(self) -> None:
        self.model = torch.nn.Linear(4, 1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)

    def compute(self) -> torch.Tensor:
        return torch.nn.functional.mse_loss(self.model(torch.ones(3, 4)), torch.zeros(3, 1))  # the loss

    def round(self) -> None:
        self.optimizer.zero_grad()
        loss = self.compute()
        loss.backward()  # the backward
        self.optimizer.step()  # the step


def test_each_number_is_traced_to_the_line_it_came_from(probe: Any, receiver: Any) -> None:
    words = asked(Small(), receiver)
    assert words["optimizer"].startswith("torch.optim.adamw.AdamW (optimizer 0), stepped at ")
    assert words["optimizer"].endswith(f"{HERE}:{line_of('# the step')} in round")
    assert f"{HERE}:{line_of('# the backward')} in round" in words["loss"]
    assert "made by mse_loss, called at " in words["loss"]
    assert words["loss"].endswith(f"{HERE}:{line_of('# the loss')} in compute")
    assert words["grad_norm"] == "the probe's own, over the 2 gradients that the step was about to use"
    assert words["lr/0"] == 'param_groups[0]["lr"] of optimizer 0, a float, read after the step'
    assert words["batch_size"] == "the shapes of what the loss function was given"
    assert words["val_loss"] == "none came with this sample"
    assert probe.failures == 0


def test_the_answer_is_of_one_round_and_nothing_is_left_of_it(probe: Any, receiver: Any) -> None:
    small = Small()
    small.round()
    ask(receiver)
    answer = answered(receiver, small.round)
    assert (answer["ids"], answer["step"] > 0) == (["q-1"], True)
    assert (probe._steps.inquiry, probe._capture.asked) == (None, None)
    for _ in range(30):
        small.round()
    assert len(receiver.of(packet.ANSWER)) == 1
    assert probe._steps._plain is not None, "it goes the long way for ever"
    assert [row["step"] for row in receiver.take().rows] == list(range(len(receiver.rows)))


def test_all_who_ask_get_the_answer(probe: Any, receiver: Any) -> None:
    small = Small()
    small.round()
    ask(receiver, "q-1")
    ask(receiver, "q-2")
    assert answered(receiver, small.round)["ids"] == ["q-1", "q-2"]


def test_of_a_sum_the_division_is_said(probe: Any, receiver: Any) -> None:
    words = asked(Accumulated(), receiver)
    assert words["loss"].startswith("the sum over 4 backward calls, at ")
    assert "each had been divided by 4, so that it is the mean" in words["loss"]


def test_of_a_scaled_loss_the_scale_is_said_to_be_undone(probe: Any, receiver: Any) -> None:
    assert "GradScaler's scale is undone" in asked(Scaled(), receiver)["loss"]


def test_a_step_that_was_left_out_is_not_the_one_told_of(probe: Any, receiver: Any) -> None:
    loop = ScaledSkipping()
    words = asked(loop, receiver)
    assert words["loss"].count("backward was called") == 1
    assert probe.failures == 0


def test_the_jobs_own_clipping_is_named(probe: Any, receiver: Any) -> None:
    words = asked(Clipped(), receiver)
    assert words["grad_norm"].startswith("what the job's own clipping computed, before it clipped, to ")
    assert "loops/clipped.py:" in words["grad_norm"]


def test_a_closure_is_said(probe: Any, receiver: Any) -> None:
    words = asked(Closure(lambda params: torch.optim.SGD(params, lr=0.05)), receiver)
    assert words["optimizer"].endswith(", with a closure")
    assert "backward was called on" in words["loss"]


def test_of_several_optimizers_each_is_named(probe: Any, receiver: Any) -> None:
    loop = Gan()
    for _ in range(3):
        loop.round()
    ask(receiver)
    answer = answered(receiver, loop.round)
    assert len([1 for series, _, _ in answer["sources"] if series == "optimizer"]) >= 1
    assert answer["words"]["loss"]


def test_a_validation_loss_names_its_function_and_caller(probe: Any, receiver: Any) -> None:
    small = Small()

    def round_and_look() -> None:
        small.round()
        with torch.no_grad():
            small.compute()

    small.round()
    ask(receiver)
    words = answered(receiver, round_and_look)["words"]["val_loss"]
    assert words.startswith("mse_loss ran without grad, called at ")
    assert words.endswith(f"{HERE}:{line_of('# the loss')} in compute; their mean since the step before")


def test_a_validation_loss_that_was_logged_is_said_to_be(probe: Any, receiver: Any) -> None:
    small = Small()

    def round_and_log() -> None:
        small.round()
        probe.log(val_loss=0.5)

    small.round()
    ask(receiver)
    assert answered(receiver, round_and_log)["words"]["val_loss"].startswith("logged by the script at ")


def test_an_overlay_is_said(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.round()
    receiver.command(factor=0.5)
    deadline = time.monotonic() + 60
    while "settled" not in receiver.states():
        assert time.monotonic() < deadline
        loop.round()
    ask(receiver)
    answer = answered(receiver, loop.round)
    values = {series: value for series, value, _ in answer["sources"]}
    assert values["lr/0"] == values["own_lr/0"] / 2
    assert "an overlay" in answer["words"]["lr/0"]


def test_a_step_without_backward_says_so(probe: Any, receiver: Any) -> None:
    small = Small()

    def round_by_hand() -> None:
        for param in small.model.parameters():
            param.grad = torch.ones_like(param)
        small.optimizer.step()

    round_by_hand()
    ask(receiver)
    words = answered(receiver, round_by_hand)["words"]
    assert words["loss"] == "unknown: no backward call was seen between this step and the last"


def test_a_step_that_raised_is_not_the_one_told_of(probe: Any, receiver: Any) -> None:
    small = Small()
    small.round()
    ask(receiver)
    failed: list[int] = []

    class Breaks(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            if probe._capture.asked is not None and not failed:
                failed.append(1)
                raise RuntimeError("the job's own")
            return super().step(closure)

    small.optimizer = Breaks(small.model.parameters(), lr=0.01)  # type: ignore[assignment]

    def step() -> None:
        try:
            small.round()
        except RuntimeError:
            assert failed

    words = answered(receiver, step)["words"]
    assert failed
    assert "the tensor that backward was called on" in words["loss"]
    assert probe.failures == 0


def test_rows_that_are_thinned_are_not_waited_for(probe: Any, receiver: Any) -> None:
    small = Small()
    small.round()
    probe._steps._budget.rows_every = probe._steps._budget.norm_every = 1024
    ask(receiver)
    deadline = time.monotonic() + 60
    while not receiver.of(packet.ANSWER):
        assert time.monotonic() < deadline
        small.round()
    (answer,) = receiver.of(packet.ANSWER)
    words = {series: words for series, _, words in answer["sources"]}
    assert words["grad_norm"].endswith("to keep within the budget it is every 1024 steps")


def test_a_library_in_between_is_said_with_who_called_it() -> None:
    here = sys._getframe()
    library = SimpleNamespace(
        f_code=SimpleNamespace(co_filename="/env/lib/site-packages/trainer/loop.py", co_name="fit"),
        f_lineno=7,
        f_globals={"__name__": "trainer.loop"},
        f_back=here,
    )
    own = SimpleNamespace(
        f_code=SimpleNamespace(co_filename=torch.__file__, co_name="step"),
        f_lineno=1,
        f_globals={"__name__": "torch"},
        f_back=library,
    )
    words = caller(own)
    assert words.startswith("trainer/loop.py:7 in fit, called from ")
    assert f"{HERE}:" in words


@pytest.mark.parametrize("body", [{}, {"id": None}, [], "?"])
def test_a_question_that_cannot_be_read_is_said(body: Any, probe: Any, receiver: Any) -> None:
    small = Small()
    small.round()
    receiver.take()
    receiver._connections[-1].send(packet.pack_json(packet.ASK, body))
    small.round()
    assert probe.failures == 0
