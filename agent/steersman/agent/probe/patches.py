"""The places in torch where the probe looks on, and how it leaves them."""

from __future__ import annotations

import functools
import sys
from time import perf_counter_ns
from typing import Any, Callable, FrozenSet, List, Tuple

import torch

from .capture import Capture
from .guard import Guard
from .origin import examples
from .steps import Steps

LOSSES = (
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cross_entropy",
    "ctc_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
)
_CLIP_VALUES, _GROUPING = "clip_grad_value_", "_group_tensors_by_device_and_dtype"


class Patches:
    """Wraps a few of torch's functions, and puts the very same objects back.

    Where somebody else wrapped ours meanwhile, ours stays in place underneath and only passes on.

    Args:
        capture: told what the functions saw.
        guard: the border.
        steps: told of each backward that finds something open, for healing.
    """

    def __init__(self, capture: Capture, guard: Guard, steps: Steps) -> None:
        self._capture = capture
        self._guard = guard
        self._steps = steps
        self._placed: List[Tuple[Any, str, Any, Any]] = []
        self.asleep = False

    def place(self, losses: bool = True) -> None:
        """Wrap them; the loss functions only where `losses` says so."""
        # Tensor.backward calls torch.autograd.backward by its name, so one place sees both.
        self._wrap(torch.autograd, "backward", self._backward)
        clip = sys.modules.get("torch.nn.utils.clip_grad")
        if clip is not None and hasattr(clip, "_clip_grads_with_norm_") and hasattr(clip, "_get_total_norm"):
            # clip_grad_norm_ calls these two by name, so that a script which imported it long ago is seen as well.
            self._wrap(clip, "_get_total_norm", self._total_norm)
            self._wrap(clip, "_clip_grads_with_norm_", self._clip)
            for holder in (clip, sys.modules.get("torch.nn.utils")):
                # The same two for those who call them one after the other; made from the originals at import.
                if hasattr(holder, "get_total_norm") and hasattr(holder, "clip_grads_with_norm_"):
                    self._wrap(holder, "get_total_norm", self._total_norm)
                    self._wrap(holder, "clip_grads_with_norm_", self._clip)
        else:
            for holder in (clip, torch.nn.utils):
                if holder is not None:
                    self._wrap(holder, "clip_grad_norm_", self._clip_whole)
        if clip is not None and _calls(clip.clip_grad_value_, _GROUPING) and hasattr(clip, _GROUPING):
            # Called by name as well; clip_grad_norm_'s halves call it too.
            self._wrap(clip, _GROUPING, self._grouping)
        else:
            for holder in (clip, torch.nn.utils):
                if holder is not None:
                    self._wrap(holder, _CLIP_VALUES, self._clip_values)
        for name in LOSSES if losses else ():
            if hasattr(torch.nn.functional, name):
                self._wrap(torch.nn.functional, name, self._loss)
        scaler: Any = getattr(getattr(torch, "amp", None), "GradScaler", None) or torch.cuda.amp.GradScaler
        self._wrap(scaler, "scale", self._scale)
        self._wrap(scaler, "step", self._scaler_step)

    def remove(self) -> None:
        """Put the originals back."""
        self.asleep = True
        placed, self._placed = self._placed, []
        for holder, name, original, wrapper in reversed(placed):
            if getattr(holder, name, None) is wrapper:
                setattr(holder, name, original)

    def _wrap(self, holder: Any, name: str, make: Callable[[Any], Any]) -> None:
        original = getattr(holder, name)
        wrapper = functools.wraps(original)(make(original))
        # torch.jit compiles what these name rather than the wrapper, as it does for its own script_if_tracing.
        # (Set by name: written as attributes they would be mangled with this class's name.)
        setattr(wrapper, "__original_fn", original)
        setattr(wrapper, "__script_if_tracing_wrapper", True)
        self._placed.append((holder, name, original, wrapper))
        setattr(holder, name, wrapper)

    def _backward(self, original: Any) -> Any:
        capture, guard, steps, compiling = self._capture, self._guard, self._steps, torch.compiler.is_compiling

        def backward(tensors: Any, grad_tensors: Any = None, *args: Any, **kwargs: Any) -> Any:
            if not self.asleep and not guard.off and not compiling():
                began = perf_counter_ns()
                try:
                    if steps.claims or steps.row is not None:
                        steps.before_backward()
                    capture.backward(tensors, grad_tensors is not None)
                    if capture.counting:
                        capture.count(tensors)
                    capture.spent += perf_counter_ns() - began
                except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
                    guard.failed("in backward")
                steps.backwards += 1
                try:
                    return original(tensors, grad_tensors, *args, **kwargs)
                except BaseException:
                    capture.failed()
                    raise
                finally:
                    steps.backwards -= 1
            return original(tensors, grad_tensors, *args, **kwargs)

        return backward

    def _total_norm(self, original: Any) -> Any:
        capture, guard = self._capture, self._guard

        def get_total_norm(tensors: Any, norm_type: float = 2.0, *args: Any, **kwargs: Any) -> Any:
            total = original(tensors, norm_type, *args, **kwargs)
            if not self.asleep and not guard.off:
                try:
                    capture.norm(total, float(norm_type), len(tensors) if isinstance(tensors, (list, tuple)) else -1)
                except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
                    guard.failed("in clip_grad_norm_")
            return total

        return get_total_norm

    def _clip(self, original: Any) -> Any:
        capture, guard = self._capture, self._guard

        def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.asleep and not guard.off:
                try:
                    if not isinstance(parameters, torch.Tensor):
                        parameters = list(parameters)  # a generator can be gone through once
                    capture.clipped(total_norm, _with_gradient(parameters), float(max_norm))
                except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
                    guard.failed("in clip_grad_norm_")
            return original(parameters, max_norm, total_norm, *args, **kwargs)

        return clip_grads_with_norm_

    def _clip_whole(self, original: Any) -> Any:
        capture, guard = self._capture, self._guard

        def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(parameters, torch.Tensor):
                parameters = list(parameters)
            total = original(parameters, max_norm, norm_type, *args, **kwargs)
            if not self.asleep and not guard.off:
                try:
                    capture.norm(total, float(norm_type))
                    capture.clipped(total, _with_gradient(parameters), float(max_norm))
                except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
                    guard.failed("in clip_grad_norm_")
            return total

        return clip_grad_norm_

    def _grouping(self, original: Any) -> Any:
        compiling = torch.compiler.is_compiling

        def group_tensors(*args: Any, **kwargs: Any) -> Any:
            if not compiling() and sys._getframe(1).f_code.co_name == _CLIP_VALUES:
                self._cut()
            return original(*args, **kwargs)

        return group_tensors

    def _clip_values(self, original: Any) -> Any:
        compiling = torch.compiler.is_compiling

        def clip_grad_value_(*args: Any, **kwargs: Any) -> Any:
            if not compiling():
                self._cut()
            return original(*args, **kwargs)

        return clip_grad_value_

    def _cut(self) -> None:
        if not self.asleep and not self._guard.off:
            try:
                self._capture.cut()
            except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
                self._guard.failed("in clip_grad_value_")

    def _loss(self, original: Any) -> Any:
        capture, guard = self._capture, self._guard
        training, compiling, name = torch.is_grad_enabled, torch.compiler.is_compiling, original.__name__
        tracing: Callable[[], bool] = getattr(torch._C, "_is_tracing", bool)

        def loss(*args: Any, **kwargs: Any) -> Any:
            # Asked first: what else is read here would become a condition of the compiled code. And torch.jit.trace
            # names what it traces after variables it finds, and raises where our name for the result is among them.
            if compiling() or tracing():
                return original(*args, **kwargs)
            value = original(*args, **kwargs)
            if training():
                if capture.counting and not self.asleep and not guard.off:
                    try:
                        capture.made(name, value, args, kwargs)
                    except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
                        guard.failed("in a loss function")
                return value
            if self.asleep or guard.off:
                return value
            if kwargs.get("reduction", "mean") != "mean":
                # A sum, which somebody divides by a number that is not seen here.
                return value
            try:
                capture.validation(value, name, examples(name, args, kwargs))
            except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
                guard.failed("in a loss function")
            return value

        return loss

    def _scale(self, original: Any) -> Any:
        capture, guard = self._capture, self._guard

        def scale(scaler: Any, outputs: Any) -> Any:
            scaled = original(scaler, outputs)
            if not self.asleep and not guard.off:
                try:
                    capture.scaled(outputs, scaled, getattr(scaler, "_scale", None))
                except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
                    guard.failed("in GradScaler.scale")
            return scaled

        return scale

    def _scaler_step(self, original: Any) -> Any:
        steps, guard = self._steps, self._guard

        def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            made = -1
            if not self.asleep and not guard.off:
                try:
                    made = steps.before_scaler(scaler, optimizer)
                except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
                    guard.failed("in GradScaler.step")
            result = original(scaler, optimizer, *args, **kwargs)
            if made >= 0 and not self.asleep and not guard.off:
                try:
                    steps.after_scaler(scaler, made)
                except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
                    guard.failed("in GradScaler.step")
            return result

        return step


def _calls(function: Any, name: str) -> bool:
    """Whether a function looks another up by this name each time it is called."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return name in getattr(getattr(function, "__code__", None), "co_names", ())


def _with_gradient(parameters: Any) -> FrozenSet[int]:
    looked = [parameters] if isinstance(parameters, torch.Tensor) else parameters
    return frozenset([id(parameter) for parameter in looked if parameter.grad is not None])
