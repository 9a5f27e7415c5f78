"""torch.compile: the samples are those of the loop that is not compiled, and dynamo has nothing more to do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.agent.probe.loops.compiled import Compiled, CompiledAot, CompiledLoss
from tests.agent.probe.loops.loop import Loop, pairs, ran
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters

COMPILED: dict[str, Callable[[], Loop]] = {
    "model": Compiled,
    "model_aot": CompiledAot,
    "loss": CompiledLoss,
}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()
    counters.clear()


def work_of_dynamo() -> dict[str, int]:
    """How many frames it compiled, graphs it made and breaks it met."""
    return {
        "frames": counters["frames"]["total"],
        "graphs": counters["stats"]["unique_graphs"],
        "calls": counters["stats"]["calls_captured"],
        "breaks": sum(counters["graph_break"].values()),
    }


def spent(make: Callable[[], Loop]) -> dict[str, int]:
    torch._dynamo.reset()
    counters.clear()
    ran(make, 12)
    return work_of_dynamo()


@pytest.mark.parametrize("name", COMPILED)
def test_dynamo_compiles_not_one_frame_more(name: str, start: Any, receiver: Any) -> None:
    bare = spent(COMPILED[name])
    start()
    assert spent(COMPILED[name]) == bare


@pytest.mark.parametrize("name", COMPILED)
def test_nothing_is_compiled_again_once_it_runs(name: str, probe: Any, receiver: Any) -> None:
    loop = ran(COMPILED[name], 6)
    before = work_of_dynamo()
    for _ in range(30):
        loop.round()
    assert work_of_dynamo() == before


@pytest.mark.parametrize("name", COMPILED)
def test_a_probe_that_comes_later_causes_no_recompilation(name: str, start: Any, receiver: Any) -> None:
    """As `attach` does: the frames are compiled already."""
    loop = ran(COMPILED[name], 6)
    before = work_of_dynamo()
    probe = start(way_in="attach", losses=False)
    for _ in range(6):
        loop.round()
    assert work_of_dynamo() == before
    probe.close()
    for _ in range(6):
        loop.round()
    assert work_of_dynamo() == before


@pytest.mark.parametrize("name", COMPILED)
def test_a_probe_that_comes_later_sees_the_steps(name: str, start: Any, receiver: Any) -> None:
    loop = ran(COMPILED[name], 6)
    probe = start(way_in="attach", losses=False)
    del loop.truth[:]
    for _ in range(6):
        loop.round()
    probe.close()
    first, *rows = receiver.take().rows
    assert "loss" not in first, "of the first round nobody knows how much was seen"
    for truth, row in zip(loop.truth[1:], rows, strict=True):
        assert row["loss"] == pytest.approx(truth.loss, rel=1e-6)
        assert row["lr/0"] == pytest.approx(truth.lrs[0], rel=1e-6)


def compiled_step(rounds: int) -> Loop:
    """The optimizer's step is compiled, in so far as torch can: it breaks the graph there itself."""
    torch._dynamo.reset()
    loop = Loop()
    loop.optimizer = torch.optim.AdamW(loop.params, lr=torch.tensor(0.01))
    step: Any = torch.compile(loop.optimizer.step, backend="eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what dynamo imports when it first sees a step
        for _ in range(rounds):
            loop.optimizer.zero_grad()
            loss = loop.loss()
            loss.backward()
            loop.note(loss)
            step()
    return loop


def test_a_compiled_step_is_a_sample_each_and_the_result_the_same(start: Any, receiver: Any) -> None:
    bare = compiled_step(12).weights()
    probe = start()
    loop = compiled_step(12)
    probe.close()
    assert all(map(torch.equal, loop.weights(), bare))
    for truth, row in pairs(loop, receiver.take().rows):
        assert row["loss"] == truth.loss
        assert row["lr/0"] == pytest.approx(0.01, rel=1e-6)
    assert probe.failures == 0


def test_a_whole_graph_stays_whole(probe: Any, receiver: Any) -> None:
    """A loss function that is compiled with fullgraph must not break on ours."""
    counter: Any = CompileCounterWithBackend("eager")

    def forward(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(inputs, targets)

    compiled = torch.compile(forward, backend=counter, fullgraph=True)
    inputs, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    assert compiled(inputs, targets).item() == pytest.approx(forward(inputs, targets).item())
    with torch.no_grad():
        compiled(inputs, targets)
    assert counter.frame_count == 2


def in_one_graph(rounds: int) -> list[float]:
    """Backward and step are compiled together with the model."""
    loop = Loop()
    loop.optimizer = torch.optim.SGD(loop.params, lr=torch.tensor(0.05))

    @torch.compile(backend="eager")
    def whole(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loop.optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(loop.model(inputs), targets)
        loss.backward()
        loop.optimizer.step()
        return loss

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [whole(*loop.batch()).item() for _ in range(rounds)]


def test_a_backward_that_is_compiled_with_its_step_gives_the_same_result(start: Any, receiver: Any) -> None:
    bare = in_one_graph(8)
    torch._dynamo.reset()
    start()
    assert in_one_graph(8) == bare
