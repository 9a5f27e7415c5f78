"""The state folder's disk is full: a job never notices, loses nothing while the daemon is there, and it is said."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Stack, wait_for

pytestmark = pytest.mark.e2e


SIZE = "size=128k,nr_inodes=64"


def mounted(folder: Path) -> list[str] | None:
    """Mount a small file system, oneself or by sudo: the words that undo it, None where neither may."""
    options = f"{SIZE},mode=700,uid={os.getuid()},gid={os.getgid()}"
    for leave in ([], ["sudo", "-n"]):
        with contextlib.suppress(OSError):  # no such command, or none that may be run
            words = [*leave, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
            if subprocess.run(words, capture_output=True).returncode == 0:
                return [*leave, "umount", "-l", str(folder)]
    return None


@contextlib.contextmanager
def beheld(folder: Path) -> Iterator[Path | None]:
    """The folder as a process sees it that has mounted one there in namespaces of its own; None where it could not."""
    if shutil.which("unshare") is None:
        yield None
        return
    mount = f'mount -t tmpfs -o {SIZE},mode=700 tmpfs "$0" && echo there && exec cat'
    with subprocess.Popen(
        ["unshare", "-rm", "sh", "-c", mount, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        there = Path(f"/proc/{holder.pid}/root{folder}")
        yield there if holder.stdout.readline() == "there\n" and os.access(there, os.W_OK) else None


@pytest.fixture
def small_disk(stack: Stack) -> Iterator[Path]:
    """The state folder as a file system of its own, with next to no room."""
    state = stack.folder / "state"
    state.mkdir()
    undo = mounted(state)
    if undo is not None:
        yield state
        stack.close()
        subprocess.run(undo, check=True)
        return
    state.rmdir()
    disk = stack.folder / "disk"
    disk.mkdir()
    with beheld(disk) as there:
        if there is None:
            pytest.skip("no file system can be mounted: not by this user, by sudo, or in a user namespace")
        state.symlink_to(there)
        yield state
        stack.close()


def fill(disk: Path, inodes: bool) -> None:
    """Leave no byte, or not even a name."""
    with (disk / "full").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    try:
        for number in range(1000 if inodes else 0):
            (disk / f"name-{number}").touch()
    except OSError:
        pass


@pytest.mark.parametrize("inodes", [False, True], ids=["bytes", "names"])
def test_a_job_on_a_full_disk_trains_and_is_seen_whole(
    inodes: bool, stack: Stack, train: Path, small_disk: Path
) -> None:
    fill(small_disk, inodes)
    stack.start_daemon()
    words = ("--job", "full", "--budget", "100000", "--", sys.executable, str(train), "200", "0.002")
    child = stack.run(*words, str(stack.folder / "w.pt"))
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    assert "trained 200 0.01" in out
    assert "Traceback" not in err
    wait_for("the job's end", lambda: (job := stack.job("full")) and job["state"] == "finished")
    assert stack.series("full", "loss")["steps"] == list(range(200))
    (event,) = [e for e in stack.json("show", "full")["events"] if e["kind"] == "spool_failed"][:1]
    assert "No space left on device" in event["message"]


def test_a_disk_that_fills_up_in_mid_run_loses_nothing(stack: Stack, train: Path, small_disk: Path) -> None:
    stack.start_daemon()
    words = ("--job", "fills", "--budget", "100000", "--", sys.executable, str(train), "100000", "0.002")
    child = stack.run(*words, str(stack.folder / "w.pt"))
    wait_for("the first steps", lambda: (job := stack.job("fills")) and job["rows"] > 20)
    fill(small_disk, False)
    wait_for("word of it", lambda: "spool_failed" in [e["kind"] for e in stack.json("show", "fills")["events"]])
    there = (stack.job("fills") or {})["rows"]
    wait_for("rows after it", lambda: (job := stack.job("fills")) and job["rows"] > there + 100)
    (stack.folder / "w.pt.stop").touch()
    out, err = child.communicate(timeout=120)
    assert (child.returncode, "Traceback" in err) == (0, False), err
    made = int(out.split("trained ")[1].split()[0]) - 1
    wait_for("the job's end", lambda: (job := stack.job("fills")) and job["state"] == "finished")
    assert stack.series("fills", "loss")["steps"] == list(range(made))
    assert (stack.job("fills") or {})["rows_lost"] == 0
