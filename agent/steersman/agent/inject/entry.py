"""Becomes `attach.py` of the private folder: runs inside a job that `steersman attach` enters.

A short-lived thread runs it, so that the job's own threads neither wait for the probe's files nor can be hit by what is
raised here. It never raises, prints or waits; what became of it stands in the report that `attach` reads.
"""

from __future__ import annotations

import json
import os
import sys
import time
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NEEDED = ("register_optimizer_step_pre_hook", "Optimizer")


def enter(request_path: str) -> None:
    """Install the probe as the request says; without the request nothing happens, for whoever asked has given up."""
    try:
        with open(request_path, encoding="utf-8") as file:
            request = json.load(file)
    except (OSError, ValueError):
        return
    report = _Report(request["report"])
    try:
        words = _hindrance()
        if words:
            report.say(*words)
        else:
            _install(request_path, request, report)
    except Exception as error:  # noqa: BLE001 - the border of a guest: the job must run whatever is wrong with us
        report.say("failed", f"{type(error).__name__}: {error}")


class _Report:
    def __init__(self, path: str) -> None:
        self._path = path

    def say(self, state: str, words: str = "", **more: Any) -> None:
        """Leave word; a report that cannot be written is nobody's trouble but ours."""
        line = json.dumps({"state": state, "words": words, **more}) + "\n"
        try:
            # A file object would leave its buffer behind in a child that is forked at this moment.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError:
            pass


def _hindrance() -> tuple[str, str] | None:
    """What only the inside of the process shows."""
    probe = getattr(sys.modules.get("_steersman_probe"), "probe", None)
    if probe is not None:
        return "already", str(probe.job)
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return "refused", "torch is not loaded"
    if getattr(getattr(torch, "__spec__", None), "_initializing", False):
        return "again", "torch is still being imported"
    optimizer = sys.modules.get("torch.optim.optimizer")
    missing = [name for name in _NEEDED if not hasattr(optimizer, name)]
    if missing or not hasattr(getattr(torch, "compiler", None), "is_compiling"):
        return "refused", f"torch {torch.__version__} is too old: it takes 2.4 or later"
    return None


def _install(request_path: str, request: dict[str, Any], report: _Report) -> None:
    _load(request["folder"])
    # Loaded here, not where the job would wait for it.
    import _steersman.agent.probe.probe  # type: ignore[import-not-found]  # noqa: F401
    from _steersman.agent.probe import ProbeConfig, current, install  # pyright: ignore[reportMissingImports]
    from _steersman.agent.probe.outside import Outside  # type: ignore[import-not-found]

    config = ProbeConfig(**request["config"], losses=not _compiled())

    def act() -> None:
        try:
            if not os.path.exists(request_path):
                return
            if current() is not None:
                report.say("already", str(current().job))
                return
            began = time.perf_counter()
            install(config)
            report.say("installed", took=time.perf_counter() - began, losses=config.losses)
        except Exception as error:  # noqa: BLE001 - the border of a guest: a step of the job may be our caller
            report.say("failed", f"{type(error).__name__}: {error}")

    # A thread that has just got the interpreter keeps it for some milliseconds, which is longer than this takes.
    time.sleep(0)
    if not Outside(act).begin():
        report.say("waiting", "a step is being made; the probe goes in at its end")


def _load(folder: str) -> None:
    """Make the copy of the probe importable as `_steersman`, also where another version was here before."""
    place = os.path.join(folder, "_steersman")
    root: Any = sys.modules.get("_steersman")
    if root is not None and list(getattr(root, "__path__", ())) == [place]:
        return
    for name in [name for name in sys.modules if name == "_steersman" or name.startswith("_steersman.")]:
        del sys.modules[name]
    root = types.ModuleType("_steersman")
    root.__path__ = [place]
    sys.modules["_steersman"] = root


def _compiled() -> bool:
    """Whether dynamo has compiled frames, which a new function under an old name would have compiled once more."""
    frames: Any = getattr(sys.modules.get("torch._dynamo.convert_frame"), "FRAME_COUNTER", 0)
    utils: Any = sys.modules.get("torch._dynamo.utils")
    counted = getattr(utils, "counters", {}).get("frames", {})
    return bool(frames) or bool(counted.get("total"))
