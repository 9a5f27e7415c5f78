"""Recordings that were made once are kept: they depend on their configuration and on the code that made them alone."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from benchmarks.diagnosis.runs import COLUMNS, Log

HERE = Path(__file__).parent
MAKERS = ("data", "models", "tasks", "optimizers", "fleet", "schedules", "runs")
"""The modules whose code makes recordings; what only reads them is not part of the key."""


def folder() -> Path:
    """Where recordings lie: STEERSMAN_BENCH_CACHE, or a place of the platform's."""
    return Path(os.environ.get("STEERSMAN_BENCH_CACHE") or platformdirs.user_cache_path("steersman") / "bench")


def _says_nothing(node: ast.AST) -> bool:
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return docstring or isinstance(node, ast.Import | ast.ImportFrom)


def code(modules: Sequence[str]) -> str:
    """A digest of what modules do: comments, docstrings and the order of imports do not make another run."""
    digest = hashlib.sha256(torch.__version__.encode())
    for name in modules:
        tree = ast.parse((HERE / f"{name}.py").read_text())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                kept = [n for n in body if not _says_nothing(n)]
                node.body = kept  # type: ignore[attr-defined]  # whatever has a body can be given another
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def path(kind: str, config: dict[str, Any], modules: Sequence[str] = MAKERS) -> Path:
    """The file of one group of runs."""
    key = hashlib.sha256(json.dumps([config, code(modules)], sort_keys=True).encode()).hexdigest()[:16]
    return folder() / f"{kind}-{config['task']}-{config['optimizer']}-{key}.npz"


def save(where: Path, log: Log) -> None:
    """Write a group of runs, whole or not at all."""
    arrays: dict[str, Any] = {"end_loss": log.end_loss, "start_loss": log.start_loss}
    for name in COLUMNS:
        # Most columns have a value every tenth step at the same steps for all: only these steps are kept.
        steps = np.flatnonzero(log.present[name].any(axis=0))
        arrays[f"steps:{name}"] = steps.astype(np.int32)
        arrays[f"values:{name}"] = log.values[name][:, steps]
        arrays[f"present:{name}"] = np.packbits(log.present[name][:, steps])
    arrays["shape"] = np.array(log.values["loss"].shape)
    where.parent.mkdir(parents=True, exist_ok=True)
    # Two that write the same at once do not disturb each other.
    draft = where.with_name(f"{where.stem}.{os.getpid()}.tmp.npz")
    np.savez_compressed(draft, **arrays)
    draft.replace(where)


def load(where: Path) -> Log:
    """Read what `save` wrote."""
    with np.load(where) as found:
        jobs, steps = (int(n) for n in found["shape"])
        log = Log.empty(jobs, steps)
        log.end_loss[:], log.start_loss[:] = found["end_loss"], found["start_loss"]
        for name in COLUMNS:
            at = found[f"steps:{name}"]
            values = found[f"values:{name}"]
            log.values[name][:, at] = values
            bits = np.unpackbits(found[f"present:{name}"], count=values.size)
            log.present[name][:, at] = bits.reshape(values.shape).astype(np.bool_)
    return log


def kept(where: Path, make: Callable[[], Log]) -> Log:
    """The runs of that file, made and kept where there is none yet."""
    if not where.exists():
        save(where, make())
    return load(where)
