"""The guest in the training process: standard library and torch only."""

from .config import ProbeConfig
from .install import current, install

__all__ = ["ProbeConfig", "current", "install"]
