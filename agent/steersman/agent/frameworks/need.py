"""Importing what a framework's file cannot do without."""

from __future__ import annotations

import importlib
from types import ModuleType


def need(module: str, package: str) -> ModuleType:
    """The module, imported.

    Args:
        module: its name.
        package: what to install where it is missing.

    Raises:
        ImportError: it cannot be imported; says why, and what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        words = f"Steersman's callback needs {package}, which cannot be imported here ({error}): pip install {package}"
        raise ImportError(words, name=module) from error
