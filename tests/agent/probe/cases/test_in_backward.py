"""An optimizer a parameter, stepped inside backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.agent.probe.loops.loop import pairs, ran
from tests.agent.probe.loops.several import InBackward

from steersman.agent.probe import packet
from steersman.agent.probe.steps import Steps


class Deep(InBackward):
    """More parameters than a row has columns."""

    def prepare(self) -> None:
        layers: list[torch.nn.Module] = [torch.nn.Linear(8, 8) for _ in range(24)]
        self.model = torch.nn.Sequential(*layers, torch.nn.Linear(8, 1))
        super().prepare()


def test_a_backward_is_one_sample_with_its_loss_and_the_norm_of_all(probe: Any, receiver: Any) -> None:
    loop = ran(InBackward, 12)
    probe.close()
    for index, (truth, row) in enumerate(pairs(loop, receiver.take().rows)):
        assert row["loss"] == truth.loss
        assert row["backward_calls"] == 1
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-5), index


def test_a_deep_model_is_one_sample_a_backward_too(probe: Any, receiver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each optimizer is greeted for, and nobody reads meanwhile.
    monkeypatch.setattr(Steps, "listen_every", 50_000_000)
    loop = ran(Deep, 12)
    probe.close()
    rows = receiver.take().rows
    assert [row["step"] for row in rows] == list(range(12))
    assert [row["loss"] for row in rows] == [truth.loss for truth in loop.truth]
    assert [row["grad_norm"] for row in rows] == pytest.approx([truth.norm for truth in loop.truth], rel=1e-5)


def test_an_adjustment_is_refused_with_that_reason(probe: Any, receiver: Any) -> None:
    loop = InBackward()
    loop.round()
    receiver.command(factor=0.5)
    rounds = 0
    while not receiver.states():
        loop.round()
        rounds += 1
        assert rounds < 10_000
    (ack,) = receiver.of(packet.ACK)
    assert ack["state"] == "refused"
    assert "backward" in ack["message"]


def test_the_weights_are_the_same(start: Any, receiver: Any) -> None:
    bare = ran(InBackward, 24).weights()
    start()
    assert all(map(torch.equal, bare, ran(InBackward, 24).weights()))
