"""LR curves as pure functions: the probe applies them, the daemon previews and forecasts with the same code."""

from .ramp import ramp

__all__ = ["ramp"]
