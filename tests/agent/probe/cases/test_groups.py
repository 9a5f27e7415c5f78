"""Many parameter groups."""

from __future__ import annotations

from typing import Any

import pytest
from tests.agent.probe.loops.changing import Unfrozen
from tests.agent.probe.loops.loop import Loop, ran
from tests.agent.probe.loops.several import ManyGroups


def test_every_group_has_its_series(probe: Any, receiver: Any) -> None:
    ran(ManyGroups, 3)
    for row in receiver.take().rows:
        assert [row[f"lr/{group}"] for group in range(20)] == pytest.approx([0.01 * 0.9**i for i in range(20)])


def test_groups_beyond_what_a_row_holds_are_said_to_be_left_out(probe: Any, receiver: Any, said: Any) -> None:
    class TooMany(ManyGroups):
        groups = 100

    loop = ran(TooMany, 3)
    rows = receiver.take().rows
    assert len(rows) == 3
    assert all(row["loss"] == truth.loss for row, truth in zip(rows, loop.truth, strict=True))
    assert rows[0]["lr/0"] == pytest.approx(0.01)
    (event,) = said("columns_cut")
    left_out = 100 - len([name for name in rows[-1] if name.startswith("lr/")])
    assert event["count"] == left_out == 76
    assert "the last 76 of optimizer 0" in event["message"]


def test_a_factor_is_laid_on_every_group_even_those_without_a_series(probe: Any, receiver: Any) -> None:
    class TooMany(ManyGroups):
        groups = 100

    loop = TooMany()
    loop.round()
    receiver.command(factor=0.5)
    seen: list[list[float]] = []
    loop.optimizer.register_step_post_hook(
        lambda optimizer, args, kwargs: seen.append([group["lr"] for group in optimizer.param_groups])
    )
    before = [group["lr"] for group in loop.optimizer.param_groups]
    done: list[int] = []
    while "settled" not in receiver.states():
        done.append(1)
        assert len(done) < 10_000
        loop.round()
    assert [group["lr"] for group in loop.optimizer.param_groups] == before


def test_a_group_that_comes_later_gets_its_series(probe: Any, receiver: Any) -> None:
    ran(Unfrozen, 12)
    rows = receiver.take().rows
    assert ["lr/1" in row for row in rows] == [False] * 8 + [True] * 4
    assert {row["lr/1"] for row in rows[8:]} == {0.01}


def test_groups_that_are_named_are_still_numbered(probe: Any, receiver: Any) -> None:
    import torch

    loop = Loop()
    named = list(loop.model.named_parameters())
    loop.optimizer = torch.optim.SGD([{"params": named[:2], "lr": 0.1}, {"params": named[2:], "lr": 0.2}])
    loop.round()
    (row,) = receiver.take().rows
    assert (row["lr/0"], row["lr/1"]) == (0.1, 0.2)
