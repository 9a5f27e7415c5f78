"""What docstrings show is what comes out."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import steersman.rules

MODULES = [found.name for found in pkgutil.walk_packages(steersman.rules.__path__, "steersman.rules.")]


@pytest.mark.parametrize("name", MODULES)
def test_what_docstrings_show_is_what_comes_out(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_some() -> None:
    assert len(MODULES) > 80
    features = [name for name in MODULES if name.startswith("steersman.rules.features.")]
    shown = sum(doctest.testmod(importlib.import_module(name)).attempted > 0 for name in features)
    assert shown > 0.7 * len(features)
