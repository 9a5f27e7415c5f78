"""`steersman top` as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.operators.terminal import Terminal

import steersman.cli
from steersman.cli.main import main

TOP = [sys.executable, "-m", "steersman.cli", "top", "--daemon", "127.0.0.1:1"]


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


@pytest.mark.parametrize(("key", "code"), [(b"\x03", 130), (b"q", 0)], ids=["ctrl-c", "q"])
def test_it_ends_with_the_code_of_its_key(terminal: Terminal, key: bytes, code: int) -> None:
    environment = {**os.environ, "TERM": "xterm-256color"}
    top = subprocess.Popen(TOP, stdin=terminal.theirs, stdout=terminal.theirs, stderr=terminal.theirs, env=environment)
    try:
        terminal.wait_for(b"offline")
        terminal.press(key)
        assert top.wait(30) == code
    finally:
        top.kill()
        top.wait()
    assert b"Traceback" not in terminal.drawn


@pytest.mark.parametrize("other", ["stdin", "stdout", "stderr"])
def test_it_draws_nothing_where_there_is_no_terminal(terminal: Terminal, other: str) -> None:
    streams: dict[str, int] = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.theirs)
    if other == "stdin":
        streams["stdin"] = subprocess.DEVNULL
    else:
        streams[other] = subprocess.PIPE
    top = subprocess.Popen(TOP, text=True, **streams)  # type: ignore[call-overload]  # by name
    try:
        _, err = top.communicate(timeout=30)
    finally:
        top.kill()
        top.wait()
    assert top.returncode == 2
    said = err if other == "stderr" else None
    if said is None:
        terminal.wait_for(b"print")
        said = terminal.drawn.decode()
    assert "top needs a terminal" in said
    assert "`steersman jobs`" in said
    assert "\x1b" not in said


def test_without_textual_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [m for m in sys.modules if m.partition(".")[0] == "textual" or m.startswith("steersman.tui")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "steersman.cli.top", raising=False)
    # What is imported anew replaces these, which tests that come later look through.
    for package, name in ((steersman, "tui"), (steersman.cli, "top")):
        if hasattr(package, name):
            monkeypatch.setattr(package, name, getattr(package, name))
    monkeypatch.setitem(sys.modules, "textual", None)
    monkeypatch.setattr("sys.argv", ["steersman", "top"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert "this command needs textual, which is not installed" in said
    assert "pip install 'steersman[monitor]'" in said
