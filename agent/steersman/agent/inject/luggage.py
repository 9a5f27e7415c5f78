"""The private folder that goes on the job's PYTHONPATH."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from pathlib import Path

import steersman.agent
import steersman.schedule


def pack(cache: Path) -> Path:
    """The folder with the bootstrap and the probe's copy, made where it is not there yet.

    Its name carries version and content, so that a job that still runs keeps the files it began with.

    Raises:
        OSError: the cache folder cannot be written.
    """
    files = _files()
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name] + b"\0")
    version = importlib.metadata.version("steersman")
    folder = cache / "inject" / f"{version}-{digest.hexdigest()[:16]}"
    if (folder / "sitecustomize.py").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        for name, content in files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        draft.chmod(0o755)  # a job may run as another user than the one who starts it, as under sudo
        os.rename(draft, folder)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        if not (folder / "sitecustomize.py").is_file():  # else another `run` was faster
            raise
    return folder


def _files() -> dict[str, bytes]:
    """What goes in, by its path inside the folder."""
    agent = Path(next(iter(steersman.agent.__path__)))
    schedule = Path(next(iter(steersman.schedule.__path__)))
    found = {
        "sitecustomize.py": (agent / "inject" / "bootstrap.py").read_bytes(),
        # Packages of nothing: the real ones import what a job's environment may not have.
        "_steersman/__init__.py": b"",
        "_steersman/agent/__init__.py": b"",
    }
    for root, name in ((agent / "probe", "_steersman/agent/probe"), (schedule, "_steersman/schedule")):
        for path in sorted(root.rglob("*.py")):
            found[f"{name}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    return found
