"""What the entry finds inside a process, and what it leaves undone; test_attach.py enters whole jobs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from steersman.agent.inject import entry


@pytest.fixture
def enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in [name for name in sys.modules if name == "torch" or name.startswith(("torch.optim", "_steersman"))]:
        monkeypatch.delitem(sys.modules, name)

    def run(**modules: Any) -> list[dict[str, Any]]:
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name.replace("__", "."), module)
        report = tmp_path / "report"
        request = tmp_path / "request.json"
        request.write_text(json.dumps({"folder": str(tmp_path), "report": str(report), "config": {}}))
        entry.enter(str(request))
        return [json.loads(line) for line in report.read_text().splitlines()]

    return run


def torch(initializing: bool = False, **more: Any) -> Any:
    return SimpleNamespace(__spec__=SimpleNamespace(_initializing=initializing), __version__="2.0.1", **more)


def test_without_a_request_nothing_happens(tmp_path: Path) -> None:
    entry.enter(str(tmp_path / "withdrawn.json"))
    assert list(tmp_path.iterdir()) == []


def test_what_hinders_is_reported(enter: Any) -> None:
    assert enter() == [{"state": "refused", "words": "torch is not loaded"}]


def test_a_torch_that_is_being_imported_is_tried_again(enter: Any) -> None:
    assert enter(torch=torch(initializing=True)) == [{"state": "again", "words": "torch is still being imported"}]


def test_an_old_torch_is_refused(enter: Any) -> None:
    (said,) = enter(torch=torch(), torch__optim__optimizer=SimpleNamespace())
    assert said == {"state": "refused", "words": "torch 2.0.1 is too old: it takes 2.4 or later"}


def test_one_that_has_a_probe_is_left_alone(enter: Any) -> None:
    holder = SimpleNamespace(probe=SimpleNamespace(job="mine"))
    assert enter(torch=torch(), _steersman_probe=holder) == [{"state": "already", "words": "mine"}]


def test_a_folder_without_a_probe_is_a_failure_that_is_said(enter: Any) -> None:
    optimizer = SimpleNamespace(register_optimizer_step_pre_hook=None, Optimizer=None)
    compiler = SimpleNamespace(is_compiling=None)
    (said,) = enter(torch=torch(compiler=compiler), torch__optim__optimizer=optimizer)
    assert said["state"] == "failed"
    assert said["words"].startswith("ModuleNotFoundError: No module named '_steersman.agent'")
