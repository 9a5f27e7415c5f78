"""The probe makes the training process wait for nothing: proved by counting, not by reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Count(TorchDispatchMode):
    """Counts what makes a host wait for a device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(func)
        if name.startswith(("aten._local_scalar_dense", "aten.item", "aten.nonzero", "aten.equal", "aten.is_nonzero")):
            self.seen[name] += 1
        if name.startswith(("aten.copy_", "aten._to_copy")):
            waits = not (kwargs.get("non_blocking") or (name.startswith("aten.copy_") and len(args) > 2 and args[2]))
            crosses = "device" in kwargs or (name.startswith("aten.copy_") and args[0].dtype != args[1].dtype)
            if waits and crosses:
                self.seen[name] += 1
        return func(*args, **kwargs)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.01),
    "momentum": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.001),
    "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.001),
    "tensor lr": lambda params: torch.optim.Adam(params, lr=torch.tensor(0.001), foreach=False, capturable=False),
}


def counted(work: Any) -> Counter[str]:
    def once(clip: bool) -> None:
        work.optimizer.zero_grad()
        work.loss().backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(work.model.parameters(), 1.0)
        work.optimizer.step()

    count = Count()
    with count:
        for step in range(45):
            once(clip=step % 3 == 0)
            if step % 7 == 0:
                with torch.no_grad():
                    work.loss()
    return count.seen


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_not_one_dispatch_that_waits_more_than_the_bare_loop(name: str, receiver: Any, start: Any, job: Any) -> None:
    bare = counted(job(OPTIMIZERS[name]))
    probe = start()
    work = job(OPTIMIZERS[name])
    work.step()
    receiver.command(factor=0.5, over_steps=3)
    with_probe = counted(work)
    assert len(receiver.take().rows) == 46
    assert receiver.states() == ["armed", "applied", "settled"]
    assert any("hypergrad_cos" in row for row in receiver.rows)
    assert probe.failures == 0
    assert with_probe == bare
