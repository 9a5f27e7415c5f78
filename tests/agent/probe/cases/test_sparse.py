"""Sparse gradients: in host memory the norm is known, and never wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.agent.probe.loops.loop import Loop, norm_of, pairs, ran
from tests.agent.probe.loops.sparse import Sparse, SparseAndDense, SparseNowAndThen
from torch.nn import functional


@pytest.mark.parametrize("make", [Sparse, SparseAndDense, SparseNowAndThen])
def test_the_norm_is_that_of_all_gradients(make: Any, probe: Any, receiver: Any, said: Any) -> None:
    for truth, row in pairs(ran(make, 24), receiver.take().rows):
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-5)
    assert said("probe_") == []


@pytest.mark.parametrize("make", [Sparse, SparseAndDense, SparseNowAndThen])
def test_the_loss_is_there_all_the_same(make: Any, probe: Any, receiver: Any) -> None:
    for truth, row in pairs(ran(make, 24), receiver.take().rows):
        assert row["loss"] == truth.loss


def test_rows_that_come_twice_are_not_counted_twice(probe: Any, receiver: Any) -> None:
    """A gradient that is not coalesced has the same row several times; its norm is that of their sum."""
    table = torch.nn.Embedding(8, 4, sparse=True)
    optimizer = torch.optim.SparseAdam(list(table.parameters()), lr=0.01)
    functional.mse_loss(table(torch.tensor([1, 1, 1, 2])), torch.ones(4, 4)).backward()
    whole = norm_of(table.parameters())
    optimizer.step()
    (row,) = receiver.take().rows
    assert row["grad_norm"] == pytest.approx(whole, rel=1e-5)


def test_a_dense_optimizer_after_a_sparse_one_has_its_norm(probe: Any, receiver: Any) -> None:
    for make in (Sparse, Loop):
        loop = make()
        loop.round()
        del loop
    probe.close()
    rows = receiver.take().rows
    assert "grad_norm" in rows[1]
