"""An optimizer that the probe has met."""

from __future__ import annotations

import weakref
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch.utils.hooks import RemovableHandle

from .direction import Direction
from .effect import effect_of
from .memory import DeviceMemory
from .norm import GradientNorm
from .ring import HostRing
from .sharded import Shards, apart

_MOST_PLACES = 256


class Seen:
    """What the probe knows of one optimizer, and its hooks on that instance.

    Args:
        optimizer: held weakly.
        number: in the order in which optimizers were first stepped or shown.
        ring: where values are copied to.
        forget: called when the optimizer is gone.
    """

    __slots__ = (
        "_hooked", "_ring", "captured", "columns", "count", "cuda", "direction", "handles", "judgement", "memory",
        "norm", "norms", "number", "places", "post_id", "pre_id", "ref", "shards",
    )  # fmt: skip

    def __init__(self, optimizer: Any, ring: HostRing, forget: Optional[Callable[[], None]] = None) -> None:
        self.direction = Direction(ring)
        direction = self.direction

        def gone(_: Any) -> None:
            # What the direction keeps of its parameters would keep a model alive that the script has let go.
            direction.release()
            if forget is not None:
                forget()

        self.ref = weakref.ref(optimizer, gone)
        self.number = -1
        self.columns: List[Tuple[int, int]] = []
        self.places: Dict[int, int] = {}
        for group in optimizer.param_groups:
            self.place(group)
        self.count = 0
        self.captured = False
        self.cuda = any(p.device.type == "cuda" for group in optimizer.param_groups for p in group["params"])
        self.memory = DeviceMemory(optimizer)
        self.judgement = effect_of(optimizer)
        self.shards = Shards(ring, apart(optimizer))
        self.norm = GradientNorm(ring, whole=self.shards.apart is None)
        self.norms: Dict[int, GradientNorm] = {}
        self._ring = ring
        self.handles: List[Any] = []
        self.pre_id = self.post_id = -1
        self._hooked = -1

    def place(self, group: Any) -> int:
        """Which of its groups that is, whatever list it stands in: told by the address of its first parameter."""
        params = group["params"]
        key = id(params[0]) if len(params) else 0
        at = self.places.get(key)
        if at is None:
            at = len(self.places)
            if at < _MOST_PLACES:
                self.places[key] = at
        return at

    def norm_from(self, place: int) -> GradientNorm:
        """The norm over only some of its groups, which begin with this one."""
        if place not in self.norms:
            self.norms[place] = GradientNorm(self._ring, whole=self.shards.apart is None)
        return self.norms[place]

    def hook(
        self,
        before: Callable[..., Any],
        after: Callable[..., Any],
        before_state: Callable[..., Any],
        after_state: Callable[..., Any],
        loaded: Callable[..., Any],
    ) -> None:
        """Register the hooks on the instance. Never while a step of it is being made, except from a global pre-hook."""
        optimizer = self.ref()
        if optimizer is None:
            return
        pre = optimizer.register_step_pre_hook(before)
        post = optimizer.register_step_post_hook(after)
        self.pre_id, self.post_id = pre.id, post.id
        self.handles = [pre, post]
        if hasattr(optimizer, "register_state_dict_pre_hook"):
            self.handles.append(optimizer.register_state_dict_pre_hook(before_state))
            self.handles.append(optimizer.register_state_dict_post_hook(after_state))
            self.handles.append(optimizer.register_load_state_dict_post_hook(loaded))

    def outermost(self, optimizer: Any) -> None:
        """Make our pre-hook the last and our post-hook the first of the instance's.

        Called from the global pre-hook, before torch walks the instance's hooks. While nobody has hooked anything
        anywhere since it was last seen to, their order is as it was.
        """
        if self._hooked == RemovableHandle.next_id:
            return
        self._hooked = RemovableHandle.next_id
        pre = optimizer._optimizer_step_pre_hooks
        if next(reversed(pre), None) != self.pre_id and self.pre_id in pre:
            pre.move_to_end(self.pre_id)
        post = optimizer._optimizer_step_post_hooks
        if next(iter(post), None) != self.post_id and self.post_id in post:
            post.move_to_end(self.post_id, last=False)

    def unhook(self) -> None:
        """Take the hooks off."""
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def describe(self) -> Any:
        """What HELLO says of it."""
        optimizer = self.ref()
        groups = [] if optimizer is None else optimizer.param_groups
        prefix = "" if self.number <= 0 else f"{self.number}."
        kind = object if optimizer is None else type(optimizer)
        return {
            "class_name": f"{kind.__module__}.{kind.__qualname__}",
            "groups": [f"{prefix}{index}" for index in range(len(groups))],
            "parameters": sum(p.numel() for group in groups for p in group["params"]),
            "overlay": self.judgement.words,
        }

    def device(self) -> str:
        """Where its parameters are."""
        optimizer = self.ref()
        for group in [] if optimizer is None else optimizer.param_groups:
            for param in group["params"]:
                if isinstance(param, torch.Tensor):
                    return str(param.device)
        return "cpu"
