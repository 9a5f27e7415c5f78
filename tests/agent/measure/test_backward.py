from __future__ import annotations

import time
from typing import Any

import torch

from steersman.agent.measure.backward import PatchClock, own_cost


def test_it_times_what_lies_between_and_nothing_else() -> None:
    there = torch.autograd.backward
    loss = torch.nn.Parameter(torch.ones(3)).sum()
    clock = PatchClock()
    with clock.below(lambda *args, **kwargs: time.sleep(0.05)):
        original = torch.autograd.backward

        def patch(*args: Any, **kwargs: Any) -> None:
            time.sleep(0.002)
            original(*args, **kwargs)
            time.sleep(0.003)

        torch.autograd.backward = patch
        with clock.above():
            loss.backward()
        assert torch.autograd.backward is patch
    assert torch.autograd.backward is there
    assert clock.calls == 1
    assert 5e6 <= clock.spent < 45e6


def test_its_own_part_is_small() -> None:
    assert 0 < own_cost() < 50_000
