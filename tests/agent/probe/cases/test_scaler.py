"""GradScaler: what backward sees is not the loss, and some steps are not made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.agent.probe.loops.loop import norm_of, pairs, ran
from tests.agent.probe.loops.scaled import (
    Scaled,
    ScaledClipped,
    ScaledFused,
    ScaledFusedSkipping,
    ScaledSkipping,
)

ALL = [Scaled, ScaledClipped, ScaledFused]
SKIPPING = [ScaledSkipping, ScaledFusedSkipping]


class ClippedSkipping(ScaledSkipping):
    clips = True


class ClippedFusedSkipping(ScaledFusedSkipping):
    clips = True


@pytest.mark.parametrize("make", ALL)
def test_loss_and_norm_are_unscaled(make: Any, probe: Any, receiver: Any) -> None:
    for truth, row in pairs(ran(make, 8), receiver.take().rows):
        assert row["loss"] == truth.loss
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-5)


@pytest.mark.parametrize("make", SKIPPING)
def test_a_skipped_step_is_not_counted(make: Any, probe: Any, receiver: Any) -> None:
    loop = ran(make, 12)
    probe.close()
    assert len(loop.skipped) == 3
    assert [row["step"] for row in receiver.take().rows] == list(range(9))


@pytest.mark.parametrize("make", [*SKIPPING, ClippedSkipping, ClippedFusedSkipping])
def test_a_skipped_step_is_an_event_with_the_scale(make: Any, probe: Any, receiver: Any, said: Any) -> None:
    loop = ran(make, 12)
    probe.close()
    events = said("step_skipped")
    assert [event["step"] for event in events] == [1, 4, 7]
    assert sum(event["count"] for event in events) == len(loop.skipped)
    assert f"{loop.skipped[0]:g}" in events[0]["message"]


@pytest.mark.parametrize("make", SKIPPING)
def test_what_was_skipped_is_not_mixed_into_the_next_sample(make: Any, probe: Any, receiver: Any) -> None:
    loop = ran(make, 12)
    probe.close()
    for truth, row in pairs(loop, receiver.take().rows):
        assert row["backward_calls"] == 1
        assert row["loss"] == truth.loss
        assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-5)


def test_clipping_scaled_gradients_does_not_scale_the_norm(probe: Any, receiver: Any) -> None:
    """A mistake that many scripts make: unscale_ is not called before clipping."""
    loop = Scaled()
    norms = []
    for _ in range(4):
        loop.optimizer.zero_grad()
        loop.scaler.scale(loop.loss()).backward()
        norms.append(norm_of(loop.params, 1024.0))
        torch.nn.utils.clip_grad_norm_(loop.params, 1e9)
        loop.scaler.step(loop.optimizer)
        loop.scaler.update()
    for row, norm in zip(receiver.take().rows, norms, strict=True):
        assert row.get("grad_norm", norm) == pytest.approx(norm, rel=1e-5)


def test_a_scaler_that_is_disabled_changes_nothing(probe: Any, receiver: Any) -> None:
    loop = Scaled()
    loop.scaler = torch.amp.GradScaler(device="cpu", enabled=False)
    losses = []
    for _ in range(4):
        loop.optimizer.zero_grad()
        loss = loop.loss()
        losses.append(loss.item())
        loop.scaler.scale(loss).backward()
        loop.scaler.step(loop.optimizer)
        loop.scaler.update()
    assert [row["loss"] for row in receiver.take().rows] == losses


def test_several_losses_scaled_at_once_are_unscaled(probe: Any, receiver: Any) -> None:
    loop = Scaled()
    first, second = loop.loss(), loop.loss()
    scaled = loop.scaler.scale([first, second])
    sum(scaled).backward()  # type: ignore[union-attr]
    loop.scaler.step(loop.optimizer)
    loop.scaler.update()
    (row,) = receiver.take().rows
    # Nothing ties this sum to the scaler any more: unknown, or right.
    assert row.get("loss", first.item() + second.item()) == pytest.approx(first.item() + second.item(), rel=1e-6)


def test_a_loss_scaled_by_hand_of_the_scaler_is_unscaled(probe: Any, receiver: Any) -> None:
    """Accelerate and others scale, divide and only then call backward."""
    loop = Scaled()
    losses = []
    for _ in range(2):
        loss = loop.loss()
        losses.append(loss.item())
        (loop.scaler.scale(loss) / 2).backward()
    loop.scaler.step(loop.optimizer)
    loop.scaler.update()
    (row,) = receiver.take().rows
    assert row.get("loss", sum(losses) / 2) == pytest.approx(sum(losses) / 2, rel=1e-6)


def test_two_optimizers_with_one_scaler_give_one_sample_a_round(probe: Any, receiver: Any) -> None:
    loop = Scaled()
    params = loop.params
    optimizers = [torch.optim.SGD(params[:2], lr=0.05), torch.optim.SGD(params[2:], lr=0.02)]
    losses, norms = [], []
    for _ in range(4):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = loop.loss()
        losses.append(loss.item())
        loop.scaler.scale(loss).backward()
        norms.append(norm_of(params, 1024.0))
        for optimizer in optimizers:
            loop.scaler.step(optimizer)
        loop.scaler.update()
    probe.close()
    rows = receiver.take().rows
    assert [row["loss"] for row in rows] == losses
    assert [row["grad_norm"] for row in rows] == pytest.approx(norms, rel=1e-5)
