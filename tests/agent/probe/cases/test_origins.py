"""How many examples and targets a loss was made from, told by shapes where one loss function made it."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from steersman.agent.probe import packet

CLASSES = 7


class Words:
    """A model of tokens, in batches of 4 by 5."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.table = torch.nn.Parameter(torch.randn(CLASSES, CLASSES))
        self.tokens = torch.randint(CLASSES, (4, 5))
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD([self.table], lr=0.01)

    @property
    def logits(self) -> torch.Tensor:
        return self.table[self.tokens]

    def step(self, *losses: Callable[[], torch.Tensor]) -> None:
        self.optimizer.zero_grad()
        for loss in losses:
            loss().backward()
        self.optimizer.step()


def sized(receiver: Any) -> list[dict[str, float]]:
    """What the rows say of sizes, those left out that say nothing."""
    found = [{name: row[name] for name in ("batch_size", "targets") if name in row} for row in receiver.take().rows]
    return [one for one in found if one]


def flat(words: Words) -> torch.Tensor:
    return functional.cross_entropy(words.logits.view(-1, CLASSES), words.tokens.view(-1))


def deep(words: Words) -> torch.Tensor:
    return functional.cross_entropy(words.logits.transpose(1, 2), words.tokens)


def one(words: Words) -> torch.Tensor:
    return functional.cross_entropy(words.logits[0, 0], words.tokens[0, 0])


def soft(words: Words) -> torch.Tensor:
    return functional.cross_entropy(words.logits.view(-1, CLASSES), torch.full((20, CLASSES), 1 / CLASSES))


def squares(words: Words) -> torch.Tensor:
    return functional.mse_loss(words.logits.flatten(1), torch.zeros(4, 35))


def by_name(words: Words) -> torch.Tensor:
    return functional.mse_loss(target=torch.zeros(4, 35), input=words.logits.flatten(1))


def single(words: Words) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(words.logits.flatten(), torch.ones(140))


def unreduced(words: Words) -> torch.Tensor:
    return functional.mse_loss(words.logits.flatten(1), torch.zeros(4, 35), reduction="none").mean()


def module(words: Words) -> torch.Tensor:
    loss: torch.Tensor = torch.nn.CrossEntropyLoss(label_smoothing=0.1)(words.logits.transpose(1, 2), words.tokens)
    return loss


def penalized(words: Words) -> torch.Tensor:
    return deep(words) + 0.1 * words.table.square().sum()


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (flat, {"targets": 20}),
        (deep, {"batch_size": 4, "targets": 20}),
        (one, {"targets": 1}),
        (soft, {"targets": 20}),
        (squares, {"batch_size": 4}),
        (by_name, {"batch_size": 4}),
        (single, {"targets": 140}),
        (unreduced, {"batch_size": 4}),
        (module, {"batch_size": 4, "targets": 20}),
        (penalized, {"batch_size": 4, "targets": 20}),
        (lambda words: deep(words) + flat(words), None),
        (lambda words: words.logits.square().mean(), None),
        (
            lambda words: functional.kl_div(words.logits.view(-1, 7), torch.ones(20, 7), reduction="batchmean"),
            {"targets": 20},
        ),
    ],
)
def test_a_step_in_ten_tells_what_shapes_say(loss: Any, said: Any, probe: Any, receiver: Any) -> None:
    words = Words()
    for _ in range(35):
        words.step(lambda: loss(words))
    assert sized(receiver) == ([] if said is None else [said] * 3)
    assert len(receiver.rows) == 35
    assert probe.failures == 0


def test_the_calls_of_a_round_are_added_up(probe: Any, receiver: Any) -> None:
    words = Words()
    for _ in range(12):
        words.step(*[lambda: deep(words) / 3] * 3)
    assert sized(receiver) == [{"batch_size": 12, "targets": 60}]


def test_one_call_that_does_not_say_leaves_the_sum_unknown(probe: Any, receiver: Any) -> None:
    words = Words()
    for _ in range(12):
        words.step(lambda: deep(words), lambda: words.logits.square().mean())
    assert sized(receiver) == []


def test_a_scaled_loss_is_known_too(probe: Any, receiver: Any) -> None:
    words = Words()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for _ in range(12):
        words.optimizer.zero_grad()
        scaler.scale(deep(words)).backward()
        scaler.step(words.optimizer)
        scaler.update()
    assert sized(receiver) == [{"batch_size": 4, "targets": 20}]


def test_a_closures_first_call_is_the_one_that_counts(probe: Any, receiver: Any) -> None:
    words = Words()
    words.optimizer = torch.optim.LBFGS([words.table], max_iter=3)

    def closure() -> torch.Tensor:
        words.optimizer.zero_grad()
        loss = deep(words)
        loss.backward()
        return loss

    for _ in range(12):
        words.optimizer.step(closure)
    assert sized(receiver) == [{"batch_size": 4, "targets": 20}]


def test_a_validation_loss_is_none_of_the_batch(probe: Any, receiver: Any) -> None:
    words = Words()
    for _ in range(12):
        words.step(lambda: deep(words))
        with torch.no_grad():
            functional.cross_entropy(words.logits[:1].transpose(1, 2), words.tokens[:1])
    assert sized(receiver) == [{"batch_size": 4, "targets": 20}]


def test_a_backward_that_fails_is_not_counted(probe: Any, receiver: Any) -> None:
    words = Words()
    for _ in range(12):
        loss = deep(words)
        with pytest.raises(RuntimeError):
            torch.autograd.backward(loss, inputs=[])
        words.step(lambda: deep(words))
    assert sized(receiver) == [{"batch_size": 4, "targets": 20}]


def test_a_traced_graph_gets_nothing_of_ours(probe: Any, receiver: Any) -> None:
    words = Words()
    for _ in range(10):
        words.step(lambda: deep(words))
    assert probe._capture.counting
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced: Any = torch.jit.trace(
            lambda a, b: functional.cross_entropy(a, b), (torch.ones(3, 2), torch.tensor([0, 1, 1]))
        )
    assert "size" not in str(traced.graph)
    gradient = torch.func.grad(lambda a: functional.mse_loss(a, torch.zeros(3, 2)))(torch.ones(3, 2))
    assert gradient.shape == (3, 2)
    assert probe.failures == 0


def test_a_loss_that_is_thrown_away_is_not_kept(probe: Any, receiver: Any) -> None:
    """A note on a graph goes with the graph: nothing of a batch lives longer because somebody counts."""
    words = Words()
    for _ in range(10):
        words.step(lambda: deep(words))
    assert probe._capture.counting
    logits = words.logits.transpose(1, 2)
    gone = weakref.ref(logits)
    loss = functional.cross_entropy(logits, words.tokens)
    del logits, loss
    assert gone() is None
    words.step(lambda: deep(words))
    assert [event for event in receiver.of(packet.EVENT) if event["kind"] == "probe_failed"] == []


def test_compiled_code_is_not_compiled_once_more_because_somebody_counts(probe: Any, receiver: Any) -> None:
    words, compiled = Words(), []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    torch._dynamo.reset()
    loss = torch.compile(lambda: deep(words), backend=backend)
    for _ in range(25):
        words.step(loss)
    assert len(compiled) == 1
    assert len(receiver.take().rows) == 25
    assert probe.failures == 0
