"""How numbers come to the host without waiting: read where they are, or copied into memory that is read later."""

from __future__ import annotations

import ctypes
import struct
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import torch

from .guard import pass_on

# A NaN that no computation produces: what still reads so has not been written yet.
_EMPTY = {torch.float32: 0x7FD57EE5, torch.float64: 0x7FF8537465657273}
_SLOTS = 512


class Slot:
    """Room for a few numbers: `view` is written by the device, `values` is read by the host, through memory.

    Reading through the address rather than `.item()` costs 40 ns instead of a dispatch, and cannot wait.
    """

    __slots__ = ("_empty", "_last", "pool", "values", "view")

    def __init__(self, view: torch.Tensor, address: int, width: int, pool: List[Slot]) -> None:
        wide = view.dtype == torch.float64
        size = 8 if wide else 4
        self.view = view
        self.values: Any = ((ctypes.c_double if wide else ctypes.c_float) * width).from_address(address)
        self._last: Any = (ctypes.c_int64 if wide else ctypes.c_int32).from_address(address + size * (width - 1))
        self._empty = _EMPTY[view.dtype]
        self.pool = pool

    def clear(self) -> None:
        """Mark the last number as not there yet."""
        self._last.value = self._empty

    def arrived(self) -> bool:
        """Whether the last number has been written."""
        return bool(self._last.value != self._empty)

    def free(self) -> None:
        """Give the room back; call it once, after reading."""
        self.pool.append(self)


Number = Union[float, Slot]
"""A number that is known, or one that is on its way."""


class HostRing:
    """Slots in preallocated memory, pinned, for numbers that come from an accelerator.

    Memory is taken when the first number of a kind is put, never more than `_SLOTS` of each kind: with a queue that is
    longer than that a number is given up (`put` returns None) rather than waited for.
    """

    def __init__(self) -> None:
        self._pools: Dict[Tuple[torch.dtype, int], List[Slot]] = {}
        self._memory: List[torch.Tensor] = []

    def bring(self, value: torch.Tensor) -> Optional[Number]:
        """The number in a detached scalar: at once where it is in host memory, else on its way; None if neither."""
        return peek(value) if value.is_cpu else self.put(value)

    def put(self, value: torch.Tensor) -> Optional[Slot]:
        """Start copying a detached scalar, or a vector of a few, from an accelerator."""
        # A slot of the value's own type, so that the copy needs no kernel for converting it.
        dtype = torch.float64 if value.dtype == torch.float64 else torch.float32
        key = (dtype, 1 if value.dim() == 0 else value.numel())
        pool = self._pools.get(key)
        if pool is None:
            pool = self._open(key)
        if not pool:
            return None
        slot = pool.pop()
        slot.clear()
        slot.view.copy_(value, non_blocking=True)
        return slot

    def _open(self, key: Tuple[torch.dtype, int]) -> List[Slot]:
        dtype, width = key
        # These are ordinary tensors even when the first value comes out of an inference_mode block: a tensor made
        # inside one could not be written to afterwards.
        with torch.inference_mode(False), torch.no_grad():
            memory = torch.empty(_SLOTS * width, dtype=dtype, device="cpu", pin_memory=True)
            views = [memory[i] if width == 1 else memory[i * width : (i + 1) * width] for i in range(_SLOTS)]
        self._memory.append(memory)
        pool: List[Slot] = []
        base, size = memory.data_ptr(), memory.element_size()
        pool.extend(Slot(view, base + size * width * i, width, pool) for i, view in enumerate(views))
        self._pools[key] = pool
        return pool


def _half(address: int) -> float:
    return float(struct.unpack("<e", ctypes.string_at(address, 2))[0])


def _bfloat16(address: int) -> float:
    # The upper half of a float32.
    return float(struct.unpack("<f", b"\0\0" + ctypes.string_at(address, 2))[0])


float_at: Any = ctypes.c_float.from_address
"""A float32 in host memory, by its address."""


def _reader(kind: Any) -> Callable[[int], float]:
    at = kind.from_address
    return lambda address: float(at(address).value)


_READERS: Dict[Any, Callable[[int], float]] = {
    torch.float32: _reader(ctypes.c_float),
    torch.float64: _reader(ctypes.c_double),
    torch.float16: _half,
    torch.bfloat16: _bfloat16,
    torch.int64: _reader(ctypes.c_int64),
    torch.int32: _reader(ctypes.c_int32),
}


def peek(value: Any) -> Optional[float]:
    """The number in a Python number or in a scalar tensor in host memory; None where it cannot be read so."""
    if not isinstance(value, torch.Tensor):
        return float(value) if isinstance(value, (int, float)) else None
    return read(value) if value.is_cpu and value.numel() == 1 else None


def read(value: torch.Tensor) -> Optional[float]:
    """As `peek`, of a tensor that is known to be one number in host memory."""
    if value.is_neg():
        return None
    try:
        address = value.data_ptr()
        if not address:
            return None  # a wrapper around others, as a DTensor
        if value.dtype is torch.float32:
            return float(float_at(address).value)
        reader = _READERS.get(value.dtype)
        return None if reader is None else reader(address)
    except RuntimeError as error:
        pass_on(error)
        # A tensor without memory, as inside torch.func's transforms.
        return None
