"""How much memory of its device a job has in use."""

from __future__ import annotations

from typing import Any, Callable, List, NamedTuple, Optional

import torch


class InUse(NamedTuple):
    """Bytes that tensors occupy, and the most there have been since the job last reset that."""

    now: float
    peak: float


class DeviceMemory:
    """Asks torch's own allocator, whose books are kept by the host: nothing on the device is waited for.

    Args:
        optimizer: whose parameters say which devices are meant; where there are several, they are added up.
        module: gives torch's module of a kind of device.
    """

    __slots__ = ("_devices", "_module")

    def __init__(self, optimizer: Any, module: Optional[Callable[[str], Any]] = None) -> None:
        found = {p.device for group in optimizer.param_groups for p in group["params"] if isinstance(p, torch.Tensor)}
        self._module = module or _module
        self._devices: List[Any] = [
            device for device in found if device.type != "cpu" and hasattr(self._module(device.type), "memory_stats")
        ]

    def read(self) -> Optional[InUse]:
        """Bytes in use; None in host memory, and where this allocator keeps no books."""
        now = peak = 0
        for device in self._devices:
            stats = self._module(device.type).memory_stats(device)
            now += stats.get("allocated_bytes.all.current", 0)
            peak += stats.get("allocated_bytes.all.peak", 0)
        # The parameters are there: an allocator that has nothing in use is another than the one that made them.
        return InUse(float(now), float(peak)) if now else None


def _module(kind: str) -> Any:
    return getattr(torch, kind, None)
