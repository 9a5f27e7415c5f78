"""What one rank holds of gradients that lie over several ranks.

No rank knows the norm of gradients of which it holds a part, and to ask the others would be a collective. So each
sends the squares of the norms of its parts by placement, and the daemon adds them up.
"""

from __future__ import annotations

import math
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch

from .placement import WHOLE, Share, lies_over_ranks, place_of
from .ring import HostRing, Slot, peek
from .rows import Row, Rows

PREFIX = "grad_square/"
UNKNOWN = "unknown"
_MIXED = "several optimizers step, and ranks that were attached to may have begun to count with different ones"

Say = Callable[[str, str, int], None]


class Shards:
    """Measures this rank's parts of the gradients of one optimizer, where they are parts.

    Args:
        ring: brings numbers to the host.
        apart: why plain gradients of this rank are not those of the job, or None where nothing says so.
    """

    __slots__ = ("_known", "_places", "_ring", "_said", "_shape", "apart", "mixed", "spread")

    def __init__(self, ring: HostRing, apart: Optional[str]) -> None:
        self._ring = ring
        self._known: Dict[Any, Optional[str]] = {}
        self._shape: Optional[Tuple[int, ...]] = None
        self._places: Dict[str, List[torch.Tensor]] = {}
        self._said = False
        self.apart = apart
        self.spread = False
        """Whether any of its parameters lies over several ranks."""
        self.mixed = False
        """Whether rounds of several optimizers are counted from one that another rank may not have begun with."""

    def measure(
        self,
        optimizer: Any,
        gradients: List[Any],
        scale: Optional[torch.Tensor],
        row: Row,
        rows: Rows,
        say: Say,
    ) -> None:
        """Put the squares of the norms of this rank's parts into a row, or that they cannot be told."""
        self._look(optimizer)
        if self.apart is not None:
            self._give_up(self.apart, row, rows, say)
            return
        if not self.spread or rows.column(PREFIX + UNKNOWN, "1") < 0:
            return
        if self.mixed:
            self._give_up(_MIXED, row, rows, say)
            return
        with torch.no_grad():
            places: Dict[str, List[torch.Tensor]] = {place: [] for place in self._places}
            for gradient in gradients:
                place, local = WHOLE, gradient
                if lies_over_ranks(gradient):
                    named = self._place(gradient)
                    if named is None:
                        words = f"the placement {_words(gradient)} of a gradient has no norm by itself"
                        self._give_up(words, row, rows, say)
                        return
                    place, local = named, gradient.to_local()
                if type(local) is not torch.Tensor or local.layout != torch.strided:
                    self._give_up(f"a part of a gradient is a {type(local).__name__}", row, rows, say)
                    return
                there = places.setdefault(place, [])
                if local.numel():
                    there.append(local)
            squares: Dict[str, Any] = {place: self._square(parts, scale) for place, parts in places.items()}
        self._put(squares, row, rows)

    def lose(self, optimizer: Any, why: str, row: Row, rows: Rows, say: Say) -> bool:
        """Put into a row that its norm cannot be told, where it is one of parts; whether it is."""
        self._look(optimizer)
        if self.spread:
            self._give_up(why, row, rows, say)
        return self.spread

    def clipped(self, share: Share, row: Row, rows: Rows, say: Say) -> None:
        """Put what the job's own clipping knew into a row."""
        if rows.column(PREFIX + UNKNOWN, "1") < 0:
            return
        if self.mixed:
            self._give_up(_MIXED, row, rows, say)
            return
        if share.place is None:
            self._give_up("the norm by which the job clips is a part of no known kind", row, rows, say)
            return
        with torch.no_grad():
            self._put({share.place: self._bring(share.local)}, row, rows)

    def _look(self, optimizer: Any) -> None:
        shape = tuple(len(group["params"]) for group in optimizer.param_groups)
        if shape == self._shape:
            return
        self._shape = shape
        params = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        self.spread = any(lies_over_ranks(p) for p in params)
        # A parameter without a gradient adds nothing on this rank, and others wait for that word.
        places = {self._place(p) if lies_over_ranks(p) else WHOLE for p in params} if self.spread else set()
        self._places = {place: [] for place in places if place is not None}

    def _place(self, tensor: Any) -> Optional[str]:
        key = (tensor.device_mesh, tensor.placements)
        if key not in self._known:
            self._known[key] = place_of(*key)
        return self._known[key]

    def _square(self, parts: List[torch.Tensor], scale: Optional[torch.Tensor]) -> Any:
        if not parts:
            return 0.0
        norms = torch.stack(list(torch._foreach_norm(parts)))  # pyright: ignore[reportPrivateImportUsage]
        norm = torch.linalg.vector_norm(norms.double())
        if norm.is_cpu:
            value = peek(norm)
            if value is not None and math.isinf(value):
                # In their own precision they may have overflowed.
                sizes = [torch.linalg.vector_norm(part, dtype=torch.float64) for part in parts]
                value = peek(torch.linalg.vector_norm(torch.stack(sizes)))
            divisor = 1.0 if scale is None else peek(scale)
            return None if value is None or not divisor else (value / divisor) * (value / divisor)
        return self._bring(norm if scale is None else norm / scale)

    def _bring(self, norm: torch.Tensor) -> Any:
        return self._ring.bring(norm.double().square())

    def _put(self, squares: Dict[str, Any], row: Row, rows: Rows) -> None:
        columns = [self._column(place, row, rows) for place in squares]
        # Some without the others would look like all there is.
        missing = -1 in columns or any(square is None for square in squares.values())
        if missing:
            self._mark(row, rows)
        for column, square in zip(columns, squares.values()):
            if isinstance(square, Slot):
                # What nobody wants is read as well, so that its room comes back.
                row.expect(rows.column(PREFIX + UNKNOWN) if missing else column, square)
            elif not missing:
                row.set(column, square)

    def _column(self, place: str, row: Row, rows: Rows) -> int:
        column = rows.column(PREFIX + place)
        number = 1
        while column >= 0 and _taken(row, column):
            # Another optimizer of the same round has its parts there.
            number += 1
            column = rows.column(f"{PREFIX}{place}/{number}")
        return column

    def _mark(self, row: Row, rows: Rows) -> None:
        column = rows.column(PREFIX + UNKNOWN, "1")
        if column >= 0:
            row.set(column, 1.0)

    def _give_up(self, why: str, row: Row, rows: Rows, say: Say) -> None:
        self._mark(row, rows)
        if not self._said:
            self._said = True
            say("norm_unknown", f"the gradient norm of the job is not known: {why}", 1)


def apart(optimizer: Any) -> Optional[str]:
    """Why the plain gradients of this rank are only a part of the job's, in words; None where nothing shows it."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return None
    params = [p for group in optimizer.param_groups for p in group["params"]]
    if any(getattr(p, "_fsdp_flattened", False) or type(p).__name__ == "FlatParameter" for p in params):
        return "each rank holds a piece of FSDP1's flat parameters, which does not say whose pieces make a whole"
    if any(getattr(p, "tensor_model_parallel", False) for p in params):
        return "parameters are split by Megatron's tensor parallelism, which does not say over which ranks"
    if any(hasattr(p, "ds_id") or hasattr(p, "_hp_mapping") for p in params) or _deepspeed_made(optimizer):
        return "DeepSpeed's optimizer steps a partition of the parameters that belongs to this rank"
    return None


def _deepspeed_made(optimizer: Any) -> bool:
    """Whether an optimizer has what ZeRO puts into one: in each group one flat tensor in place of its parameters."""
    # It is no torch optimizer itself; the one below it is, and its groups then hold this rank's partitions.
    groups = [group["params"] for group in optimizer.param_groups]
    flat = bool(groups) and all(len(params) == 1 and params[0].dim() == 1 for params in groups)
    return flat and "deepspeed.runtime.zero" in sys.modules


def _taken(row: Row, column: int) -> bool:
    return bool(row.present >> column & 1) or any(late[0] == column for late in row.late)


def _words(tensor: Any) -> str:
    return "(" + ", ".join(str(placement) for placement in tensor.placements) + ")"
