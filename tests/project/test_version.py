from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import Any


def test_version_stands_in_one_place(root: Path, roots: list[Path], pyproject: dict[str, Any]) -> None:
    version = pyproject["project"]["version"]
    assert importlib.metadata.version("steersman") == version, "run make setup again"
    own = re.compile(rf"(?<![\w.])__version__|['\"]{re.escape(version)}['\"]")
    sources = [path for root in roots for path in root.rglob("*.py") if "_pb2" not in path.name]
    assert not [str(path) for path in sources if own.search(path.read_text(encoding="utf-8"))]


def test_changelog_knows_the_version(root: Path, pyproject: dict[str, Any]) -> None:
    assert f"## [{pyproject['project']['version']}]" in (root / "CHANGELOG.md").read_text(encoding="utf-8")


def test_command_line_says_it(pyproject: dict[str, Any]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from steersman.cli.main import main; main()", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert pyproject["project"]["version"] in done.stdout


def test_protobuf_is_tried_at_both_ends_of_what_is_allowed(root: Path, pyproject: dict[str, Any]) -> None:
    allowed = {re.split(r"[<>=]", line)[0]: line for line in pyproject["project"]["dependencies"]}
    script = (root / "scripts" / "protobuf_range.sh").read_text(encoding="utf-8")
    for package in ("protobuf", "grpcio"):
        lowest = re.search(r">=([\d.]+)", allowed[package])
        assert lowest
        assert f'"{package}=={lowest[1]}.*"' in script
        assert f'"{allowed[package]}"' in script
