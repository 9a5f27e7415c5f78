from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from steersman.cli.plain import _PLAIN, _sign

ROOT = Path(__file__).parents[2]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "größe.csv"
    rows = [f"{k},{'nan' if k > 80 else 3.0 / (1 + k)},1e-3" for k in range(120)]
    path.write_text("\n".join(["step,loss,lr", *rows]), encoding="utf-8")
    return path


def steersman(encoding: str, *words: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "steersman.cli", *map(str, words)]
    return subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_what_an_encoding_lacks_is_written_plainly(log: Path, encoding: str) -> None:
    done = steersman(encoding, "diagnose", log)
    text = done.stdout.decode(encoding)
    assert (done.returncode, done.stderr) == (1, b"")
    assert "# loss or gradient is not a number" in text
    assert "::" in text, "the curves are still there"
    assert ("größe" if encoding != "ascii" else "gr??e") in text


@pytest.mark.parametrize("words", ["rules list --explain", "rules docs", "--help", "diagnose --help"])
def test_other_commands_are_no_exception(words: str) -> None:
    done = steersman("latin-1", *words.split())
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_message_on_stderr_is_no_exception(tmp_path: Path) -> None:
    done = steersman("latin-1", "diagnose", "--column", "∞=x", tmp_path / "größe.csv")
    assert done.stderr.decode("latin-1").startswith("steersman: --column: there is no series 'inf'")


def test_utf_8_is_left_alone(log: Path) -> None:
    text = steersman("utf-8", "diagnose", log).stdout.decode()
    assert "◆ loss or gradient is not a number" in text
    assert "größe" in text


def test_every_sign_of_ours_has_a_plain_one() -> None:
    ours = {c for file in (ROOT / "agent/steersman/cli").rglob("*.py") for c in file.read_text(encoding="utf-8")}
    lacking = {c for c in ours if ord(c) > 127 and _sign(c) == "?"}
    assert lacking <= {"ä", "ö", "ü"}
    assert all(sign.isascii() for sign in _PLAIN.values())
