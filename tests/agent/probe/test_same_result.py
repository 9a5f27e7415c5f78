"""In observe mode the weights end the same to the bit, whatever trains them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.agent.probe.loops.catalogue import LOOPS
from tests.agent.probe.loops.loop import ran
from tests.agent.probe.optimizers import REFUSED, VARIANTS, Work, shipped


def test_the_walk_finds_what_torch_ships() -> None:
    assert {"SGD", "Adam", "AdamW", "LBFGS", "SparseAdam", "Rprop", "ASGD", "Adafactor"} <= set(shipped())
    assert set(shipped()) <= set(VARIANTS), "each of them as it comes"
    assert {"Adam-fused", "SGD-foreach", "AdamW-tensor-lr", "LBFGS-strong_wolfe", "SGD-momentum"} <= set(VARIANTS)


def test_what_torch_refuses_on_a_cpu_is_only_what_is_not_for_a_cpu() -> None:
    assert {name.partition("-")[2] for name in REFUSED} <= {"capturable", "differentiable", "fused", "foreach"}


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_are_the_same_to_the_bit(name: str, start: Any, receiver: Any) -> None:
    bare = Work(name, VARIANTS[name])
    weights = bare.train()
    draw = torch.rand(4)
    probe = start()
    watched = Work(name, VARIANTS[name])
    assert all(torch.equal(a, b) for a, b in zip(weights, watched.train(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(bare.state(), watched.state(), strict=True))
    assert torch.equal(torch.rand(4), draw), "the job's random numbers have moved"
    probe.close()
    assert len(receiver.take().rows) == 40
    assert probe.failures == 0
    assert all(torch.isfinite(weight).all() for weight in weights)


@pytest.mark.parametrize("name", LOOPS)
def test_every_way_of_training_ends_the_same_to_the_bit(name: str, start: Any, receiver: Any) -> None:
    bare = ran(LOOPS[name]).weights()
    start()
    watched = ran(LOOPS[name]).weights()
    assert all(torch.equal(a, b) for a, b in zip(bare, watched, strict=True))
