"""Optimizers that are replaced in mid-run."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import torch
from tests.agent.probe.loops.changing import Replaced
from tests.agent.probe.loops.loop import Loop, pairs, ran

from steersman.agent.probe import packet


def test_steps_go_on_and_losses_are_right(probe: Any, receiver: Any) -> None:
    loop = ran(Replaced, 35)
    probe.close()
    rows = receiver.take().rows
    assert [row["step"] for row in rows] == list(range(35))
    for truth, row in pairs(loop, rows):
        assert row["loss"] == truth.loss


def test_the_newest_hello_says_under_which_name_its_lr_is(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.round()
    loop.optimizer = torch.optim.AdamW(loop.params, lr=0.002)
    gc.collect()
    rounds = 0
    while len(receiver.of(packet.HELLO)) < 2:
        loop.round()
        rounds += 1
        assert rounds < 10_000
    loop.round()
    probe.close()
    (optimizer,) = receiver.of(packet.HELLO)[-1]["optimizers"]
    assert optimizer["class_name"] == "torch.optim.adamw.AdamW"
    assert receiver.rows[-1][f"lr/{optimizer['groups'][0]}"] == 0.002


def test_a_new_optimizer_every_episode_keeps_its_lr_for_ever(probe: Any, receiver: Any) -> None:
    """Meta-learning makes a fresh inner optimizer for every task: series must not run out."""
    loop = Loop()
    for episode in range(60):
        loop.optimizer = torch.optim.SGD(loop.params, lr=0.001 * (episode + 1))
        loop.round()
        loop.round()
    probe.close()
    for truth, row in pairs(loop, receiver.take().rows):
        assert [value for key, value in row.items() if key.startswith("lr/")] == list(truth.lrs)


def test_a_replaced_optimizer_is_not_kept_alive(probe: Any, receiver: Any) -> None:
    loop = Loop()
    for _ in range(12):
        loop.round()
    old = weakref.ref(loop.optimizer)
    weights = weakref.ref(loop.model[0].weight)
    loop = Loop(seed=1)
    loop.round()
    gc.collect()
    assert old() is None
    assert weights() is None


def test_greetings_do_not_grow_with_optimizers_that_are_gone(probe: Any, receiver: Any) -> None:
    loop = Loop()
    for _ in range(60):
        loop.optimizer = torch.optim.SGD(loop.params, lr=0.01)
        loop.round()
        receiver.take()
    assert all(len(hello["optimizers"]) <= 3 for hello in receiver.of(packet.HELLO))
