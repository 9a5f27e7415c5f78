"""What one round gathers between two steps: losses from backward, the norm from the job's own clip, validation."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

import torch

from .ring import HostRing, Slot, peek


class Loss:
    """The losses of one round's backward calls.

    One in host memory is read where it stands, so that nothing the job does to it later matters. Of those on an
    accelerator the first is copied and further ones are added up there. One call: its loss. Several: their mean, or
    their sum where each was visibly divided by their number.
    """

    # Most rounds have one call, so what else there can be stands on the class until it is needed.
    calls = 0
    scalars = 0
    total = 0.0
    slots: Tuple[Slot, ...] = ()
    rest: Optional[torch.Tensor] = None
    lost = False  # the ring was full: half a sum would be a number nobody asked for
    scale = 1.0

    def bring(self, ring: HostRing, value: torch.Tensor) -> None:
        """Start copying one of the sums."""
        slot = ring.put(value)
        if slot is None:
            self.lost = True
        else:
            self.slots += (slot,)

    def value(self) -> float:
        """The loss of the round, once it has arrived."""
        return (self.total + sum(float(slot.values[0]) for slot in self.slots)) * self.scale


class Validation:
    """A mean over calls, summed on the device until it is asked for."""

    __slots__ = ("calls", "total")

    def __init__(self) -> None:
        self.calls = 0
        self.total: Any = None

    def add(self, value: Any) -> None:
        """One more: a number or a detached scalar tensor."""
        self.total = value if self.calls == 0 else self.total + value
        self.calls += 1


class Capture:
    """Takes what the patched functions see and hands it out at the step.

    Args:
        ring: brings scalars to the host.

    Attributes:
        clips: norms by which the job clipped since the last step, each with how many gradients.
        validated: whether a validation loss waits for a row.
        backward_since_step: whether there was a backward call.
        spent: nanoseconds spent here that nobody has taken note of.
    """

    def __init__(self, ring: HostRing) -> None:
        self._ring = ring
        self._loss = Loss()
        self._divisor: Optional[float] = None
        self.clips: List[Tuple[torch.Tensor, int]] = []
        self._found: Dict[str, Validation] = {}
        self._logged: Dict[str, Validation] = {}
        self._logs = False
        self.validated = False
        self._scaled: Optional[Tuple[torch.Tensor, torch.Tensor]] = None
        self._norm: Optional[torch.Tensor] = None
        self.backward_since_step = False
        self.spent = 0

    def scaled(self, loss: Any, output: Any) -> None:
        """GradScaler.scale was called: what backward will see is not the loss."""
        if type(loss) is torch.Tensor and type(output) is torch.Tensor and loss.dim() == 0:
            self._scaled = (output, loss)

    def backward(self, tensors: Any, with_gradient: bool) -> None:
        """Backward was called on these tensors."""
        self.backward_since_step = True
        loss = self._loss
        loss.calls += 1
        if with_gradient:
            return
        if not isinstance(tensors, torch.Tensor):
            if len(tensors) != 1:
                return
            tensors = tensors[0]
        if type(tensors) is not torch.Tensor or tensors.numel() != 1:
            return
        if self._scaled is not None:
            output, unscaled = self._scaled
            self._scaled = None
            if output is tensors:
                tensors = unscaled
        if tensors.is_cpu:
            number = peek(tensors)
            if number is None:
                return
            loss.total += number
        else:
            value = tensors.detach()
            if value.dim():
                value = value.reshape(())
            if not loss.slots and not loss.lost:
                loss.bring(self._ring, value)
            else:
                loss.rest = value.clone() if loss.rest is None else loss.rest + value
        loss.scalars += 1
        # Asked for now: once backward has run, the graph no longer shows by what it was divided last.
        node = tensors.grad_fn
        divided = node is not None and node.name() == "DivBackward0"
        divisor = peek(getattr(node, "_saved_other", None)) if divided else None
        if loss.scalars == 1:
            self._divisor = divisor
        elif divisor != self._divisor:
            self._divisor = None

    def take_loss(self) -> Loss:
        """The losses since the last step; a new round begins."""
        loss, self._loss = self._loss, Loss()
        self._scaled = None
        self.backward_since_step = False
        if loss.scalars > 1:
            if loss.rest is not None:
                loss.bring(self._ring, loss.rest)
                loss.rest = None
            loss.scale = 1.0 if self._divisor == loss.scalars else 1.0 / loss.scalars
        return loss

    def norm(self, total: Any, norm_type: float) -> None:
        """Somebody computed a norm of gradients; kept in case it is used for clipping."""
        self._norm = total if norm_type == 2.0 and type(total) is torch.Tensor else None

    def clipped(self, total: Any, tensors: int) -> None:
        """The job clips so many gradients by this norm."""
        if total is self._norm and type(total) is torch.Tensor and total.dim() == 0:
            self.clips.append((total.detach(), tensors))
        self._norm = None

    def take_clip(self, tensors: int) -> Optional[torch.Tensor]:
        """The norm before clipping, where the job clipped as many gradients as there are; None where it did not."""
        clips, self.clips = self.clips, []
        if not clips or sum(count for _, count in clips) != tensors:
            return None
        if len(clips) == 1:
            return clips[0][0]
        whole: torch.Tensor = torch.linalg.vector_norm(torch.stack([norm.float() for norm, _ in clips]))
        return whole

    def validation(self, value: Any) -> None:
        """A loss function ran without grad."""
        if self._logs or type(value) is not torch.Tensor or value.dim() or not value.is_floating_point():
            return
        number = peek(value) if value.is_cpu else value.detach().float()
        if number is not None:
            self._found.setdefault("val_loss", Validation()).add(number)
            self.validated = True

    def log(self, name: str, value: Any) -> None:
        """The script's own validation loss: the last one wins, and those found are no longer looked at."""
        self._logs = self.validated = True
        self._found.clear()
        number = peek(value)
        entry = Validation()
        entry.add(value.detach().clone() if number is None else number)
        self._logged[name] = entry

    def take_validation(self) -> Dict[str, Validation]:
        """What came since the last step, by name."""
        self.validated = False
        taken = dict(self._found)
        taken.update(self._logged)
        self._found, self._logged = {}, {}
        return taken

    def forget(self) -> None:
        """Drop what was gathered, as after a fork."""
        self._loss = Loss()
        self.clips.clear()
        self._found.clear()
        self._logged.clear()
        self.validated = False
        self._scaled = self._norm = None
