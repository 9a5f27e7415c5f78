"""What enters a training process must run there, whatever its environment."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

GUEST = ("agent/steersman/agent/probe", "agent/steersman/schedule")
CARRIED = ("agent/steersman/agent/inject/bootstrap.py", "agent/steersman/agent/inject/entry.py")


def guest_files(root: Path) -> list[Path]:
    return [
        *(path for folder in GUEST for path in sorted((root / folder).rglob("*.py"))),
        *(root / name for name in CARRIED),
    ]


def test_guest_parses_as_python_3_9(root: Path) -> None:
    files = guest_files(root)
    assert len(files) > len(GUEST)
    for path in files:
        ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 9))


def test_guest_evaluates_no_annotation(root: Path) -> None:
    """`int | None` is no expression in Python 3.9, and only this import keeps it from being evaluated."""
    for path in guest_files(root):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        annotated = any(isinstance(node, ast.AnnAssign | ast.arg | ast.FunctionDef) for node in ast.walk(tree))
        imports = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert not annotated or "annotations" in imports, f"{path} lacks from __future__ import annotations"


def test_guest_imports_relatively(root: Path) -> None:
    """The two folders are carried into jobs under another name."""
    for path in guest_files(root):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                named = [node.module or ""]
            else:
                continue
            assert not [name for name in named if name.partition(".")[0] == "steersman"], f"{path}:{node.lineno}"


def test_guest_touches_no_frames_of_other_threads(root: Path) -> None:
    """Interpreters have died of it; `stacks` says how, and looks at them in another way."""
    for path in guest_files(root):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Attribute) and node.attr == "_current_frames"), f"{path}:{node.lineno}"


@pytest.mark.parametrize("module", ["steersman.agent", "steersman.agent.watch"])
def test_watching_imports_no_grpc(module: str) -> None:
    """gRPC and forked DataLoader workers do not mix, and nothing else of ours belongs into a job either."""
    foreign = {"grpc", "google", "numpy", "scipy", "click", "rich", "platformdirs", "yaml", "torch"}
    program = (
        "import sys; before = set(sys.modules)\n"
        f"import {module}\n"
        f"if {module!r} == 'steersman.agent': from steersman.agent import watch\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not foreign & set(done.stdout.split())
