"""`steersman bench probe` as a process, on settings so small that its figures mean nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steersman.cli.bench import _device, _duration
from steersman.cli.errors import UsageError

ADDED = {"us", "quartiles_us", "low_us", "percent", "quartiles_percent", "low_percent"}


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "steersman.cli", "bench", "probe", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "100"},
        cwd=folder,
        start_new_session=True,
    )


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for temporary files whose name leaves room for a socket's."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="sm-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(holds: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_json_has_the_shape_that_docs_cli_promises(short: Path) -> None:
    process = start(short, "--device", "cpu", "--case", "small", "--blocks", "2", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    (line,) = out.splitlines()
    said = json.loads(line)
    assert set(said) == {"steersman", "python", "torch", "device", "device_name", "threads", "cases"}
    assert (said["device"], said["device_name"], said["threads"]) == ("cpu", None, 1)
    (case,) = said["cases"]
    assert set(case) == {
        *("case", "batch", "blocks", "step_ms", "step_low_ms", "steps", "rows", "norms", "directions"),
        *(
            "without_norm",
            "whole",
            "kept",
            "norm_every",
            "rows_every",
            "backward",
            "waits",
            "waits_bare",
            "bit_identical",
        ),
    }
    assert (case["case"], case["batch"], case["blocks"]) == ("small", 256, 2)
    assert (case["kept"] is None) == (case["norm_every"] == case["rows_every"] == 1)
    assert case["steps"] == case["rows"] == case["norms"] == 100
    assert case["directions"] > 0
    assert case["step_ms"] > 0
    assert case["bit_identical"] is True
    assert case["waits"] == {}
    assert case["waits_bare"]["_local_scalar_dense"] > 0
    for name in ("without_norm", "whole", "backward"):
        assert set(case[name]) == ADDED
        assert len(case[name]["quartiles_us"]) == len(case[name]["quartiles_percent"]) == 2
    assert 0 < case["backward"]["us"] < 1e4
    assert case["backward"]["percent"] == pytest.approx(case["backward"]["us"] / case["step_ms"] / 10)
    assert list(short.glob("steersman-*")) == []


def test_people_get_an_estimate_and_a_table(short: Path) -> None:
    process = start(short, "--device", "cpu", "--step-ms", "0.5", "--blocks", "2")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert re.search(r"^this takes about \d+ s; Ctrl-C ends it$", err, re.MULTILINE)
    assert "0.5 ms: measuring" in err
    assert re.search(r"^0.5 ms: a bare step takes \d+\.\d\d ms, in 2 blocks", out)
    for words in ("row without norm", "with norm and direction", "patch on backward", "quartiles"):
        assert words in out
    assert "device synchronisations added to a step: 0" in out
    assert "weights with the probe and without it: equal to the last bit" in out
    assert "100 of 100 rows and 100 norms arrived" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_leaves_no_process(short: Path, number: signal.Signals) -> None:
    process = start(short, "--device", "cpu", "--case", "large", "--blocks", "1000")
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "measuring" in line:
                break
        (ears,) = children(process.pid)
        assert b"steersman.agent.measure.ears" in Path(f"/proc/{ears}/cmdline").read_bytes()
        # To the whole group, as a terminal does.
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    until(lambda: not alive(ears))
    assert out == ""
    assert "Traceback" not in err
    if number is signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 130
        assert list(short.glob("steersman-*")) == []


def refused(*words: str, before: str = "") -> tuple[int, str]:
    program = f"{before}\nfrom steersman.cli.main import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program, "bench", "probe", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_process_that_is_watched_is_told_so(short: Path) -> None:
    code, said = refused(
        *("--device", "cpu", "--case", "small", "--blocks", "2"),
        before=(
            "from steersman.agent.probe import ProbeConfig, install\n"
            f"install(ProbeConfig('a', 'a', {str(short / 'none')!r}))"
        ),
    )
    assert code == 1
    assert "steersman: this process is being watched already: call it without `steersman run`" in said


def test_without_torch_it_says_what_to_do() -> None:
    code, said = refused(before="import sys; sys.modules['torch'] = None")
    assert code == 1
    assert f"there is no torch for {sys.executable}" in said
    assert "install Steersman beside the torch that you train with, or here: pip install torch" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device", "tpu"], "--device tpu: there is cpu, cuda and cuda:N"),
        (["--device", "cuda:99"], "--device cuda:99: torch"),
        (["--case", "small", "--step-ms", "3"], "--case and --step-ms exclude each other"),
        (["--blocks", "1"], "1 is not in the range"),
    ],
)
def test_wrong_words_are_a_usage_error(words: list[str], said: str) -> None:
    code, found = refused(*words)
    assert code == 2
    assert said in found


def test_cuda_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert _device("") == "cuda"
    assert _device("cuda:1") == "cuda:1"
    assert chosen == [1]
    assert _device("cpu") == "cpu"
    with pytest.raises(UsageError, match=r"--device cuda:2: torch .* sees 2 CUDA devices here"):
        _device("cuda:2")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "5 s"), (48, "50 s"), (97, "95 s"), (98, "1 min 40 s"), (130, "2 min 10 s")]
)
def test_estimates_are_said_no_more_exactly_than_they_are(seconds: float, said: str) -> None:
    assert _duration(seconds) == said
