from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.05),
    "momentum": lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9),
    "adam": lambda params: torch.optim.Adam(params, lr=0.01),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.01),
    "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.01),
    "adagrad": lambda params: torch.optim.Adagrad(params, lr=0.05),
}


def train(work: Any) -> list[torch.Tensor]:
    dropout = torch.nn.Dropout(0.2)
    for step in range(60):
        work.optimizer.zero_grad()
        dropout(work.loss().reshape(1)).sum().backward()
        if step % 2:
            torch.nn.utils.clip_grad_norm_(work.model.parameters(), 1.0)
        work.optimizer.step()
        if step % 10 == 0:
            with torch.no_grad():
                work.loss()
    return [p.detach().clone() for p in work.model.parameters()]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_are_the_same_to_the_bit(name: str, receiver: Any, start: Any, job: Any) -> None:
    bare = train(job(OPTIMIZERS[name]))
    probe = start()
    watched = train(job(OPTIMIZERS[name]))
    assert len(receiver.take().rows) == 60
    assert probe.failures == 0
    assert all(torch.equal(a, b) for a, b in zip(bare, watched, strict=True))
