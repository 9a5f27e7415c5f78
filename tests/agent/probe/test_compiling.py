"""Whether torch is compiling, asked without a call where it keeps a variable for it, and by its function elsewhere."""

from __future__ import annotations

import pytest
import torch

from steersman.agent.probe.compiling import COMPILING, compiler_flags


def test_the_variable_is_the_one_that_torchs_function_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = compiler_flags()
    for value in (True, False):
        monkeypatch.setitem(torch.compiler.__dict__, COMPILING, value)
        assert flags[COMPILING] is torch.compiler.is_compiling() is value


def test_a_torch_without_the_variable_is_asked_by_its_function(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [True, False]
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: said.pop(0))
    flags = compiler_flags()
    assert flags[COMPILING] is True
    assert flags[COMPILING] is False
