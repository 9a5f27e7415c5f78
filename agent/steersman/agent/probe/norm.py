"""The gradient's norm before a step."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import Any, List, Optional

import torch

from .guard import pass_on
from .ring import HostRing, Number, float_at, peek

_is_grad_enabled, _set_grad_enabled = torch.is_grad_enabled, torch._C._set_grad_enabled
_NARROW, _STRIDED = (torch.float16, torch.bfloat16), torch.strided
_dot, _FLOAT = torch.dot, torch.float32
_numel, _is_cpu = torch.Tensor.numel, attrgetter("is_cpu")
# On a CPU one flat copy is cheaper than a call for each tensor while tensors are small; measured with cold caches.
_SMALL = 1 << 14
_FLAT = 1 << 19
# A sum of squares in float32 within these has lost nothing; beyond them it is computed again in float64.
_LEAST, _MOST = 1e-30, 1e38


class GradientNorm:
    """The L2 norm over all gradients of one optimizer.

    In host memory it is known at once, and a finite norm is never given as infinite; of a sparse gradient the rows
    that stand there twice are summed up in a copy. On an accelerator it is computed in float32, or the gradients' own
    precision where that is wider: it overflows where a gradient passes 1e19, as the job's own clipping would.

    Args:
        ring: brings it to the host.
        whole: whether this rank's gradients are the job's; where they are a part, their norm is not its norm.
    """

    __slots__ = (
        "_count", "_dtype", "_flat", "_host", "_narrow", "_ring", "_small", "_whole", "flat", "known", "square", "why",
    )  # fmt: skip

    def __init__(self, ring: HostRing, whole: bool = True) -> None:
        self._ring = ring
        self._whole = whole
        self._count = -1
        self._host = False
        self._narrow = False
        self._small = False
        self.why = ""
        """Why it is unknown, where the gradients themselves show that."""
        self._dtype: Optional[torch.dtype] = None
        self._flat: Optional[Flat] = None
        self.known = True
        self.flat: Optional[torch.Tensor] = None
        """All gradients as one vector, where the last call of `take` made that; the next call writes over it."""
        self.square = 0.0
        """Its square, then."""

    def gradients(self, optimizer: Any) -> List[torch.Tensor]:
        """The gradients that the step is about to use."""
        return [g for group in optimizer.param_groups for p in group["params"] if (g := p.grad) is not None]

    def take(self, gradients: List[torch.Tensor], scale: Optional[torch.Tensor]) -> Optional[Number]:
        """Compute it; `scale` is what a GradScaler left for the optimizer to divide by."""
        self.flat = None
        if len(gradients) != self._count:
            self._look(gradients)
        if not self.known or not gradients:
            return None
        if not self._small and gradients[0].dtype is not self._dtype:
            self._look(gradients)
        if not self._host:
            try:
                with torch.no_grad():
                    norm = torch.linalg.vector_norm(torch.stack(_norms(gradients, self._narrow)).float())
            except RuntimeError as error:
                pass_on(error)
                self._look(gradients)
                if self.known:
                    raise
                return None  # as many as before, and one is sparse now
            return self._ring.put(norm if scale is None else norm / scale)
        if self._small:
            flat = self._flat
            if flat is None or gradients[0].dtype is not self._dtype or not flat.fill(gradients):
                # As many as before and of another kind, sparse for example: a parameter may change in mid-run.
                self._look(gradients)
                if not self._small:
                    return self.take(gradients, scale)
                flat = self._flat
                if flat is None or not flat.fill(gradients):
                    return None
            self.flat = flat.whole
            square = flat.square()
            if square is None:
                return None
            self.square = square
            value: Optional[float] = (
                math.sqrt(square) if _LEAST < square < _MOST or square != square else _carefully([flat.whole])
            )
        else:
            with torch.no_grad():
                gradients = [g if g.layout is _STRIDED else g.coalesce().values() for g in gradients]
                value = peek(torch.linalg.vector_norm(torch.stack(_norms(gradients, self._narrow)).float()))
                if value is not None and math.isinf(value):
                    value = _carefully(gradients)
        if scale is None or value is None:
            return value
        divisor = peek(scale)
        return value / divisor if divisor else None

    def _look(self, gradients: List[torch.Tensor]) -> None:
        # What a signal handler of the job's raises may end this at any line: it counts as looked at only at the end.
        self._count = -1
        kinds = {(g.device, g.dtype) for g in gradients}
        # Of shards see sharded.py.
        self.why = _hindrance(gradients)
        self.known = self._whole and not self.why and bool(gradients)
        self._narrow = any(dtype in _NARROW for _, dtype in kinds)
        self._small, self._flat = False, None
        if not self.known:
            self._count = len(gradients)
            return
        size = sum(map(_numel, gradients))
        self._host = all(device.type == "cpu" for device, _ in kinds)
        plain = len(kinds) == 1 and not any(g.is_sparse for g in gradients)
        plain = plain and all(dtype in (torch.float32, torch.float64) for _, dtype in kinds)
        self._small = plain and size <= min(_FLAT, _SMALL * len(gradients))
        self._dtype = gradients[0].dtype if gradients else None
        self._flat = Flat(gradients) if self._small else None
        self._count = len(gradients)


class Flat:
    """Room for some tensors in host memory as one vector, kept from step to step.

    Memory that is new at every step costs a page fault for each 4 KiB of it, and changes which of the job's own
    allocations do.

    Args:
        like: tensors of one type and of the shapes that will be put there.

    Attributes:
        whole: the vector.
    """

    __slots__ = ("_size", "_views", "whole")

    def __init__(self, like: List[torch.Tensor]) -> None:
        self._size = sum(map(_numel, like))
        # Ordinary memory, even where the first step is made inside an inference_mode block.
        with torch.inference_mode(False), torch.no_grad():
            self.whole = torch.empty(self._size, dtype=like[0].dtype)
            parts = self.whole.split([one.numel() for one in like])
            self._views = [part.view(one.shape) for part, one in zip(parts, like)]

    def fill(self, tensors: List[torch.Tensor]) -> bool:
        """Copy tensors of the same shapes there; False where they are not of these shapes, or cannot be copied."""
        # A smaller one would be stretched by the copy, a larger one cannot be copied: the sum tells both. A copy from
        # an accelerator would wait for it.
        if len(tensors) != len(self._views) or sum(map(_numel, tensors)) != self._size:
            return False
        if not all(map(_is_cpu, tensors)):
            return False
        recording = _is_grad_enabled()
        try:
            _set_grad_enabled(False)
            _copy(self._views, tensors)
        except (RuntimeError, TypeError) as error:
            pass_on(error)
            return False
        finally:
            _set_grad_enabled(recording)
        return True

    def square(self) -> Optional[float]:
        """The sum of squares of what stands there."""
        whole = self.whole
        found = _dot(whole, whole)
        return float(float_at(found.data_ptr()).value) if whole.dtype is _FLOAT else peek(found)


def _copy_each(targets: List[torch.Tensor], sources: List[torch.Tensor]) -> None:
    for target, source in zip(targets, sources):
        target.copy_(source)


_copy: Any = getattr(torch, "_foreach_copy_", _copy_each)


def _norms(gradients: List[torch.Tensor], narrow: bool) -> List[torch.Tensor]:
    """The norm of each; of numbers of two bytes in float32, for a norm of that kind has three digits at most."""
    found: List[torch.Tensor] = []
    if narrow:
        narrow_ones = [g for g in gradients if g.dtype in _NARROW]
        gradients = [g for g in gradients if g.dtype not in _NARROW]
        wide: Any = []
        try:
            if narrow_ones:
                wide = torch._foreach_norm(narrow_ones, 2, dtype=torch.float32)  # pyright: ignore[reportPrivateImportUsage]
        except TypeError as error:
            pass_on(error)  # an older torch
            wide = [torch.linalg.vector_norm(g, dtype=torch.float32) for g in narrow_ones]
        found.extend(wide)
    if gradients:
        found.extend(torch._foreach_norm(gradients))  # pyright: ignore[reportPrivateImportUsage]
    return found


def _hindrance(gradients: List[Any]) -> str:
    """Why these have no norm that could be told without waiting, in words; empty where they have."""
    if len({g.device for g in gradients}) > 1:
        return "gradients of one step lie on several devices"
    for gradient in gradients:
        if type(gradient) is not torch.Tensor:
            return f"a gradient is a {type(gradient).__name__}"
        if gradient.is_sparse:
            if not gradient.is_cpu:
                return "a gradient is sparse, and to sum up its rows on an accelerator would mean to wait for it"
        elif gradient.layout is not _STRIDED:
            return f"a gradient has the layout {gradient.layout}"
    return ""


def _carefully(tensors: List[torch.Tensor]) -> Optional[float]:
    with torch.no_grad():
        parts = [peek(torch.linalg.vector_norm(tensor, dtype=torch.float64)) for tensor in tensors]
    known = [part for part in parts if part is not None]
    return math.hypot(*known) if len(known) == len(parts) else None
