from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def pyproject(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def roots(root: Path, pyproject: dict[str, Any]) -> list[Path]:
    """The folders that each hold a part of the namespace package."""
    return [root / name for name in pyproject["tool"]["hatch"]["build"]["dev-mode-dirs"]]


@pytest.fixture(scope="session")
def files(root: Path) -> list[Path]:
    """What is, or would be, committed; without git (an unpacked archive) whatever is there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return [root / name for name in listed.stdout.split("\0") if name and (root / name).is_file()]
