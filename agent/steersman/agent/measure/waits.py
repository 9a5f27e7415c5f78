"""Counts what makes the host wait for a device, whether there is one or not."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = ("_local_scalar_dense", "item", "nonzero", "equal", "is_nonzero", "masked_select", "unique", "allclose")
"""Operations whose result the host has to know before it can go on."""


class Waits(TorchDispatchMode):
    """Counts, while it is entered, operations that wait and copies that block; `seen` has them by name.

    On a CPU nothing waits for a device, but the same operations are dispatched: a copy counts as blocking where it
    goes to another device or type without being told `non_blocking`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        space, _, name = str(func).partition(".")
        name = name.split(".")[0]
        if space == "aten" and name in WAITING:
            self.seen[name] += 1
        if space == "aten" and name in ("copy_", "_to_copy"):
            waits = not (kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2]))
            crosses = "device" in kwargs or (name == "copy_" and args[0].dtype != args[1].dtype)
            if waits and crosses:
                self.seen[name] += 1
        return func(*args, **kwargs)


@contextlib.contextmanager
def counted(device: str = "cpu", cuda: Any = None) -> Iterator[Counter[str]]:
    """Count in this context; on a CUDA device also what torch itself calls a synchronising operation.

    Args:
        device: where the work is done.
        cuda: `torch.cuda`, or what stands for it.
    """
    count = Waits()
    if torch.device(device).type != "cuda":
        with count:
            yield count.seen
        return
    cuda = cuda or torch.cuda
    before = cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        cuda.set_sync_debug_mode("warn")
        try:
            with count:
                yield count.seen
        finally:
            cuda.set_sync_debug_mode(before)
            # Once a process it also warns that its detection is a prototype.
            found = sum("called a synchronizing" in str(warning.message) for warning in said)
            if found:
                count.seen["synchronised"] = found
