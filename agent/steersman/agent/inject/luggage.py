"""The private folder that a job gets: on its PYTHONPATH under `run`, by name under `attach`."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
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


def compile_for(folder: Path, version: tuple[int, int], program: str, environ: Mapping[str, str]) -> bool:
    """Compile the folder's modules for another Python, so that the job need not while it trains; whether that was done.

    Args:
        folder: what `pack` made.
        version: that Python's.
        program: path of the interpreter that the job runs.
        environ: the job's environment, for what its interpreter needs to start.
    """
    if (folder / "_steersman/agent/probe/__pycache__" / f"probe.cpython-{version[0]}{version[1]}.pyc").is_file():
        return True
    if version == sys.version_info[:2]:
        interpreter = sys.executable
    elif re.fullmatch(r"python[\d.]*", Path(program).name):
        interpreter = program
    else:
        return False  # a program with a Python inside: who knows what it does when it is started
    kept = {k: environ[k] for k in ("LD_LIBRARY_PATH", "PYTHONHOME") if k in environ}
    words = [interpreter, "-S", "-m", "compileall", "-q", "--", str(folder / "_steersman")]
    try:
        done = subprocess.run(words, env=kept, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _files() -> dict[str, bytes]:
    """What goes in, by its path inside the folder."""
    agent = Path(next(iter(steersman.agent.__path__)))
    schedule = Path(next(iter(steersman.schedule.__path__)))
    found = {
        "sitecustomize.py": (agent / "inject" / "bootstrap.py").read_bytes(),
        "attach.py": (agent / "inject" / "entry.py").read_bytes(),
        # Packages of nothing: the real ones import what a job's environment may not have.
        "_steersman/__init__.py": b"",
        "_steersman/agent/__init__.py": b"",
    }
    for root, name in ((agent / "probe", "_steersman/agent/probe"), (schedule, "_steersman/schedule")):
        for path in sorted(root.rglob("*.py")):
            found[f"{name}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    return found
