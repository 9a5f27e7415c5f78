"""`steersman serve` as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "steersman.cli", "serve", *words]
        told: dict[str, Any] = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), **environment}
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=told, cwd=tmp_path)
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


FREE = ("--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0")


def ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("steersman: listening on 127.0.0.1:"), line + str(process.stderr and process.stderr.read())
    return line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_line_when_ready_and_a_clean_end(serve: Serve, tmp_path: Path, number: signal.Signals) -> None:
    process = serve(*FREE, "--log-format", "json")
    line = ready(process)
    assert f"store sqlite:///{tmp_path}/state/steersman/" in line
    assert "metrics http://127.0.0.1:" in line
    assert line.endswith(" rules\n")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert [json.loads(x)["event"] for x in err.splitlines()] == ["daemon_started", "daemon_stopped"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--metrics", "off", "--listen"), "the port is in use"),
        (("--listen", "127.0.0.1:0", "--metrics"), "choose another port with --metrics"),
    ],
)
def test_a_port_in_use_is_one_line_and_leaves_no_file(
    serve: Serve, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = serve("--store", str(tmp_path / "s.db"), *options, f"127.0.0.1:{taken.getsockname()[1]}")
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    (line,) = err.splitlines()
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_a_store_in_use(serve: Serve) -> None:
    ready(serve(*FREE))
    process = serve(*FREE)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "steersman: " in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--listen", "0.0.0.0:0"), "neither TLS nor tokens yet"),
        (("--listen", "7461"), "'7461' is not HOST:PORT"),
        (("--lissen", "x"), "No such option"),
    ],
)
def test_wrong_words(serve: Serve, words: tuple[str, ...], said: str) -> None:
    process = serve(*words)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said in err
