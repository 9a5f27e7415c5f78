"""Gradients of gradients."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from tests.agent.probe.loops.backward import DoubleBackward, GraphKept, Penalised
from tests.agent.probe.loops.loop import Loop, pairs, ran


@pytest.mark.parametrize("make", [Penalised, GraphKept])
def test_loss_and_norm_are_right(make: Any, probe: Any, receiver: Any, said: Any) -> None:
    for truth, row in pairs(ran(make, 12), receiver.take().rows):
        assert row["loss"] == truth.loss
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-5)
    assert said("probe_") == []


def test_a_second_backward_is_said_to_be_part_of_a_sum(probe: Any, receiver: Any, said: Any) -> None:
    for truth, row in pairs(ran(DoubleBackward, 12), receiver.take().rows):
        assert row["loss"] == pytest.approx(truth.loss, rel=1e-6)
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-5)
    assert len(said("loss_is_a_sum")) == 1


def test_no_graph_is_kept_alive(probe: Any, receiver: Any) -> None:
    class Kept(GraphKept):
        def note(self, loss: Any, *optimizers: Any, scale: float = 1.0) -> None:
            refs.extend(weakref.ref(param.grad) for param in self.params if param.grad is not None)
            super().note(loss, *optimizers, scale=scale)

    refs: list[Any] = []
    loop: Loop = ran(Kept, 12)
    gc.collect()
    assert [ref() for ref in refs] == [None] * 48
    assert len(loop.truth) == 12
