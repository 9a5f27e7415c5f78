"""Becomes `sitecustomize.py` of a job under `steersman run`: waits for torch, then installs the probe.

Runs in every Python that the job starts, whatever its version and purpose, so it does next to nothing until torch is
imported, never raises, and leaves the user's own sitecustomize where Python would have found it.
"""

from __future__ import annotations

import contextlib
import os
import sys

TYPE_CHECKING = False  # typing's own costs every Python start some milliseconds
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


def _load(here: str) -> None:
    """Make the copy of the probe importable as `_steersman`, without leaving its folder on sys.path."""
    import types

    root = types.ModuleType("_steersman")
    root.__path__ = [os.path.join(here, "_steersman")]
    sys.modules["_steersman"] = root


def _install(here: str) -> None:
    """Install the probe, now that torch is there."""
    import json

    try:
        _load(here)
        from _steersman.agent.probe import ProbeConfig, install  # type: ignore[import-not-found]

        environ = os.environ
        install(
            ProbeConfig(
                attempt_id=environ["STEERSMAN_ATTEMPT"],
                job=environ.get("STEERSMAN_JOB") or "job",
                socket_path=environ["STEERSMAN_SOCKET"],
                policy=environ.get("STEERSMAN_POLICY") or "observe",
                limits=json.loads(environ.get("STEERSMAN_LIMITS") or "{}"),
                budget_floor=float(environ.get("STEERSMAN_BUDGET") or 100e-6),
                command=" ".join(getattr(sys, "orig_argv", sys.argv))[:512],
                way_in="run",
            )
        )
    except Exception as error:  # noqa: BLE001 - the job must run whatever is wrong with us
        # Silent, for the job's output is the user's; `run` says at the end that no step was seen.
        if os.environ.get("STEERSMAN_DEBUG") == "1":
            sys.stderr.write(f"steersman: the probe could not be installed: {error!r}\n")


class _TorchWaiter:
    """Stands first among the finders; installs the probe when the import of torch has succeeded."""

    def __init__(self, here: str) -> None:
        self._here = here

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Torch's own spec, with a word said after it was loaded; None for everything else."""
        if name != "torch":
            return None
        spec = None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                break
        with contextlib.suppress(Exception):  # an exotic loader that takes no attribute: torch without a probe
            if spec is not None:
                self._wrap(spec.loader)
        return spec

    def _wrap(self, loader: Any) -> None:
        """Run `_install` after the loader has run torch. The instance is changed, so that its type stays what it is."""
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            # Asking for a spec without importing is usual, so only a success takes the waiter away.
            with contextlib.suppress(ValueError, AttributeError):
                sys.meta_path.remove(self)
                del loader.exec_module
            _install(self._here)

        loader.exec_module = exec_module


def _begin() -> None:
    """Hide this file, and wait for torch."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != here]
    wanted = os.environ.get("STEERSMAN_SOCKET") and os.environ.get("STEERSMAN_ATTEMPT")
    if wanted and os.environ.get("STEERSMAN") != "off" and sys.version_info >= (3, 9):
        waiter: Any = _TorchWaiter(here)
        sys.meta_path.insert(0, waiter)


def _users_own() -> None:
    """Run the sitecustomize that Python would have run without us; what it raises is its own affair, as ever."""
    import importlib.util
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


with contextlib.suppress(Exception):  # the border of a guest: nothing of ours may keep Python from starting
    _begin()
_users_own()
