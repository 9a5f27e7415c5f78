"""The demo as somebody at a terminal has it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from tests.operators.terminal import Terminal

from .conftest import STEERSMAN, wait_for

pytestmark = pytest.mark.e2e


def of_the_demo(folder: Path) -> list[str]:
    """Processes that were started with `folder` for temporary files and still live."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"TMPDIR={folder}\0".encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_ctrl_c_at_the_dashboard_ends_everything() -> None:
    terminal = Terminal()
    # Short: AF_UNIX names end at 107 bytes.
    with tempfile.TemporaryDirectory(prefix="stm-") as name:
        folder = Path(name)
        environment = {**os.environ, "TERM": "xterm-256color", "TMPDIR": name}
        demo = subprocess.Popen(
            [*STEERSMAN, "demo"],
            stdin=terminal.theirs,
            stdout=terminal.theirs,
            stderr=terminal.theirs,
            env=environment,
        )
        try:
            terminal.wait_for(b"hot-steered")
            terminal.wait_for(b"running")
            terminal.press(b"\x03")
            assert demo.wait(60) == 130, terminal.drawn[-2000:]
            wait_for("the last of its processes to go", lambda: not of_the_demo(folder), 30)
            assert list(folder.iterdir()) == []
        finally:
            demo.terminate()  # it takes down what it started
            demo.wait(60)
            terminal.close()
    assert b"Traceback" not in terminal.drawn
