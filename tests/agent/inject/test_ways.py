from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from steersman.agent.inject.ways import Entry, EntryError, PendingCall, RemoteExec, way_into
from steersman.agent.target import Target

NEW: Any = SimpleNamespace(remote_exec=lambda pid, script: None)


@pytest.mark.parametrize(
    ("version", "own", "system", "name"),
    [
        ((3, 11), (3, 11), object(), "ptrace"),
        ((3, 13), (3, 14), NEW, "ptrace"),
        ((3, 14), (3, 14), NEW, "remote_exec"),
        ((3, 15), (3, 14), NEW, "ptrace"),  # its own way in takes the same version; preflight refuses it
    ],
)
def test_the_way_depends_on_both_pythons(version: Any, own: Any, system: object, name: str) -> None:
    assert way_into(version, own, system).name == name


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    script = tmp_path / "it's an attach.py"
    script.write_text("def enter(request):\n    open(request + '.done', 'w').close()\n")
    return Entry(script, tmp_path / "request.json", tmp_path / "failed")


def test_remote_exec_is_given_a_script_that_runs_the_entry(entry: Entry) -> None:
    given: list[tuple[int, str]] = []
    RemoteExec(lambda pid, script: given.append((pid, script))).enter(Target(7), entry)
    ((pid, script),) = given
    assert pid == 7
    done = str(entry.request) + ".done"
    program = (
        f"import os, time\ng = {{}}\nexec(open({script!r}).read(), g)\nassert list(g) == ['__builtins__'], g\n"
        f"while not os.path.exists({done!r}): time.sleep(0.01)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


@pytest.mark.parametrize("error", [PermissionError(1, "not permitted"), RuntimeError("remote debugging is disabled")])
def test_what_remote_exec_raises_is_said(entry: Entry, error: Exception) -> None:
    def refuse(pid: int, script: str) -> None:
        raise error

    with pytest.raises(EntryError, match=r"process 7 cannot be entered: .*(permitted|disabled)"):
        RemoteExec(refuse).enter(Target(7), entry)


def test_a_process_that_can_start_no_thread_says_so(entry: Entry) -> None:
    program = f"import _thread; _thread.start_new_thread = None\n{entry.starter()}"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stderr == b""
    assert entry.failed.exists()


@pytest.mark.parametrize("broken", ["raise KeyError", "def enter(request): raise SystemExit(3)", "syntax error"])
def test_a_broken_entry_is_silent(entry: Entry, broken: str) -> None:
    entry.script.write_text(broken)
    program = (
        f"{entry.starter()}\nimport time, sys\nwhile len(sys._current_frames()) > 1: time.sleep(0.01)\nprint('on')"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("on\n", "")


def test_names_of_the_job_that_look_like_pythons_own_do_no_harm(entry: Entry) -> None:
    program = (
        "import time, os\nexec = open = compile = RuntimeError = None\nprint('ready', flush=True)\n"
        f"while not os.path.exists({str(entry.request) + '.done'!r}): time.sleep(0.01)\n"
    )
    words = [sys.executable, "-c", program]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert 0 < PendingCall().enter(Target(process.pid), entry) < 1
        assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 0


def test_a_process_that_has_ended_is_said_to_have() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    started = time.monotonic()
    with pytest.raises(EntryError, match=f"process {process.pid} cannot be read: No such file or directory"):
        PendingCall().enter(Target(process.pid), Entry(Path("a"), Path("b"), Path("c")))
    assert time.monotonic() - started < 5
