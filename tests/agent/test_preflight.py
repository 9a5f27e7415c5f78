"""What stands in the way of entering a process, in trees that look like /proc and in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from steersman.agent.preflight import Preflight, Report
from steersman.agent.target import Target
from steersman.cli.preflight import trainers_in_words

if TYPE_CHECKING:
    from tests.agent.conftest import Home

PYTHON = str(Path(sys.executable).resolve())


@dataclass
class Tree:
    """A folder like /proc, with processes as the tests want them. Number 1 is ourselves."""

    root: Path
    torch: Path
    libraries: list[str] = field(default_factory=list)

    def add(
        self,
        pid: int,
        command: str = "python train.py",
        state: str = "S",
        parent: int = 1,
        environ: str = "",
        flags: int = 0x400000,
        files: tuple[str, ...] | None = None,
        **status: str,
    ) -> None:
        folder = self.root / str(pid)
        (folder / "ns").mkdir(parents=True)
        (folder / "stat").write_text(f"{pid} (a) b) {state} {parent} 0 0 0 0 {flags} " + "0 " * 13)
        (folder / "cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0")
        (folder / "environ").write_bytes(environ.replace(" ", "\0").encode())
        lines = {"Uid": "7\t7\t7\t7", "TracerPid": "0", "Seccomp": "2", "CapEff": "0000000000000000", **status}
        (folder / "status").write_text("".join(f"{name}:\t{value}\n" for name, value in lines.items()))
        for kind in ("pid", "mnt"):
            (folder / "ns" / kind).symlink_to(f"{kind}:[1]")
        files = (*self.libraries, str(self.torch / "lib/libtorch_python.so")) if files is None else files
        (folder / "maps").write_text("".join(_mapped(Path(path)) for path in files))
        (folder / "exe").symlink_to(PYTHON)
        (folder / "mem").touch()

    def scope(self, number: int) -> None:
        folder = self.root / "sys/kernel/yama"
        folder.mkdir(parents=True)
        (folder / "ptrace_scope").write_text(f"{number}\n")


def _mapped(path: Path) -> str:
    inode = path.stat().st_ino if path.exists() else 5
    return f"10000000-20000000 r-xp 00000000 08:01 {inode}   {path}\n"


def _own_libraries() -> list[str]:
    """Where this interpreter's functions are, as in a real memory map."""
    paths = dict.fromkeys(m.path for m in Target(os.getpid()).mappings())
    return [path for path in paths if path == PYTHON or "/libpython" in path or "/libc." in path or "/libc-" in path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    torch = tmp_path / "site-packages/torch"
    torch.mkdir(parents=True)
    (torch / "version.py").write_text("__version__ = '2.7.1+cu126'\n")
    root = tmp_path / "proc"
    root.mkdir()
    made = Tree(root, torch, _own_libraries())
    made.add(1, "bash", files=())
    return made


@pytest.fixture
def look(tree: Tree) -> Preflight:
    return Preflight(proc=str(tree.root), uid=7, own=1, watched=lambda pid: "", forbidden=lambda: "", machine="x86_64")


def found(report: Report) -> dict[str, tuple[str, str]]:
    return {one.check: (one.message, one.advice) for one in report.obstacles}


def test_a_job_that_can_be_entered(tree: Tree, look: Preflight) -> None:
    tree.add(20, environ="RANK=3 WORLD_SIZE=8")
    report = look.look(20)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert (report.ok, found(report), report.python, report.torch, report.way) == (
        *(True, {}, version, "2.7.1+cu126"),
        "ptrace",
    )
    assert (report.command, report.rank, report.world_size) == ("python train.py", 3, 8)


CASES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "zombie": ({"state": "Z"}, "alive", "has ended", ""),
    "on its way out": ({"flags": 0x400004, "files": ()}, "alive", "has ended", ""),
    "user": ({"Uid": "8\t8\t8\t8"}, "user", "belongs to user 8, and you are user 7", "sudo -u '#8'"),
    "traced": ({"TracerPid": "1"}, "traced", "is already traced by process 1 (bash)", "end that debugger"),
    "stopped": ({"state": "T"}, "stopped", "is stopped", "kill -CONT 20"),
    "strict": ({"Seccomp": "1"}, "seccomp", "strict seccomp", ""),
    "shadow": ({"x86_Thread_features": "shstk wrss"}, "shadow_stack", "shadow stack", ""),
    "off": ({"environ": "STEERSMAN=off"}, "switched_off", "STEERSMAN=off", "without that variable"),
    "no python": (
        {"files": ("/usr/bin/sleep",), "command": "sleep 9"},
        "python",
        "is no Python: sleep 9",
        "that trains",
    ),
    "launcher": (
        {"command": "/env/bin/python /env/bin/torchrun t.py"},
        "launcher",
        "does not train itself",
        "wait until",
    ),
    "old python": ({"files": ("/usr/lib/libpython3.8.so.1.0",)}, "version", "runs Python 3.8", "newer Python"),
    "free-threaded": ({"files": ("/usr/lib/libpython3.13t.so.1.0",)}, "version", "free-threaded Python 3.13", ""),
    "new python": (
        {"files": ("/usr/lib/libpython3.14.so.1.0",)},
        "version",
        "Python 3.14",
        "run steersman with Python 3.14",
    ),
    "replaced": (
        {"files": ("/gone/libpython3.11.so.1.0",)},
        "symbols",
        "is no longer there: it was replaced",
        "steersman run",
    ),
    "symbols": ({"files": ("/usr/bin/env", "/x/python3.11/lib-dynload/a.so")}, "symbols", "exports no symbols", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_what_stands_in_the_way_is_said_with_what_to_do(tree: Tree, look: Preflight, case: str) -> None:
    facts, check, message, advice = CASES[case]
    if case == "symbols":
        (tree.root / "20").mkdir()
        (tree.root / "20").rmdir()
    tree.add(20, **facts)
    said = found(look.look(20))
    assert message in said[check][0]
    assert advice in said[check][1]


def test_no_such_process(look: Preflight) -> None:
    assert found(look.look(99)) == {"exists": ("there is no process 99", "`ps -ef | grep python` shows those that run")}


def test_a_python_without_torch(tree: Tree, look: Preflight) -> None:
    tree.add(20, files=tuple(tree.libraries))
    said = found(look.look(20))
    assert list(said) == ["torch"]
    assert "has not loaded torch" in said["torch"][0]


def test_a_torch_that_is_too_old(tree: Tree, look: Preflight) -> None:
    (tree.torch / "version.py").write_text("__version__ = '2.3.0'\n")
    tree.add(20)
    assert found(look.look(20)) == {
        "torch_version": (
            "process 20 has torch 2.3.0; the probe takes 2.4 or later",
            "upgrade torch in the job's environment",
        )
    }


@pytest.mark.parametrize(("kind", "words"), [("pid", "numbers of processes"), ("mnt", "files")])
def test_another_container(tree: Tree, look: Preflight, kind: str, words: str) -> None:
    tree.add(20)
    (tree.root / "20/ns" / kind).unlink()
    (tree.root / "20/ns" / kind).symlink_to(f"{kind}:[2]")
    said = found(look.look(20))
    assert said["namespace"][0] == f"process 20 is in another container: it has its own {words}"


@pytest.mark.parametrize(
    ("scope", "capable", "readable", "check", "advice"),
    [
        (0, False, False, "ptrace", "run this as root"),
        (1, False, False, "ptrace_scope", "sysctl kernel.yama.ptrace_scope=0"),
        (1, False, True, "", ""),  # our own child, or one that allows it
        (2, False, True, "ptrace_scope", "run this as root"),
        (2, True, True, "", ""),
        (3, False, True, "ptrace_scope", "until the next boot"),
        (3, True, True, "ptrace", "run this as root"),
    ],
)
def test_the_kernels_ptrace_scope(
    tree: Tree, look: Preflight, scope: int, capable: bool, readable: bool, check: str, advice: str
) -> None:
    tree.add(20)
    tree.scope(scope)
    if capable:
        status = tree.root / "1/status"
        status.write_text(status.read_text().replace("CapEff:\t0000000000000000", "CapEff:\t0000000000080000"))
    if not readable:
        (tree.root / "20/mem").unlink()
    said = found(look.look(20))
    assert list(said) == ([check] if check else [])
    assert not check or advice in said[check][1]


def test_a_system_that_forbids_tracing(tree: Tree, look: Preflight) -> None:
    tree.add(20)
    said = found(replace(look, forbidden=lambda: "Operation not permitted").look(20))
    assert said["seccomp"] == (
        "this system forbids tracing altogether (Operation not permitted), as a container's seccomp profile does",
        "start the container with --cap-add SYS_PTRACE, or use: steersman run",
    )


def test_another_kind_of_machine(tree: Tree, look: Preflight) -> None:
    tree.add(20)
    said = found(replace(look, machine="aarch64").look(20))
    assert said["machine"][0].endswith("can be entered on x86-64 only, and this is aarch64")


def test_one_that_is_watched_already(tree: Tree, look: Preflight) -> None:
    tree.add(20)
    said = found(replace(look, watched=lambda pid: f"big-{pid}").look(20))
    assert said == {"watched": ("process 20 is already watched as big-20", "steersman show big-20")}


def test_several_obstacles_are_said_together(tree: Tree, look: Preflight) -> None:
    tree.add(20, state="T", files=tuple(tree.libraries))
    assert list(found(look.look(20))) == ["stopped", "torch"]


def test_below_a_launcher_those_that_train_are_found(tree: Tree, look: Preflight) -> None:
    nothing = ("/usr/bin/timeout",)
    tree.add(20, "timeout 9 torchrun t.py", files=nothing)
    tree.add(21, "/env/bin/python /env/bin/torchrun t.py", parent=20)
    tree.add(22, "python -u t.py", parent=21, environ="RANK=0")
    tree.add(23, "python -u t.py", parent=21, environ="RANK=1")
    tree.add(24, "python -u t.py", parent=22, environ="RANK=0")  # a forked DataLoader worker
    tree.add(25, "python -c from multiprocessing.spawn", parent=23)  # and a spawned one
    tree.add(26, "python other.py", environ="RANK=0")
    for pid, check in ((20, "python"), (21, "launcher")):
        report = look.look(pid)
        assert list(found(report)) == [check]
        assert [one.pid for one in report.trainers] == [22, 23]
    assert look.look(22).ok


def test_ranks_that_one_of_them_started_are_told_from_its_forks(tree: Tree, look: Preflight) -> None:
    tree.add(20, "python fit.py")
    tree.add(21, "python fit.py", parent=20)  # a forked DataLoader worker: the environment is its parent's as well
    tree.add(22, "python fit.py", parent=20, environ="LOCAL_RANK=1 WORLD_SIZE=2")
    tree.add(23, "python fit.py", parent=22, environ="LOCAL_RANK=1 WORLD_SIZE=2")
    top = Target(20, str(tree.root))
    assert [(one.pid, one.rank) for one in top.trainers()] == [(22, 1)]
    assert (top.rank, top.trains) == (None, True)
    assert look.look(20).ok, "it trains itself"


def test_one_that_starts_ranks_of_its_own_is_a_launcher(tree: Tree, look: Preflight) -> None:
    tree.add(20, "python launch.py")
    tree.add(21, "python t.py", parent=20, environ="RANK=0")
    assert list(found(look.look(20))) == ["launcher"]


def test_what_to_do_with_those_below_is_what_attach_takes(tree: Tree, look: Preflight) -> None:
    tree.add(20, "bash two.sh", files=())
    tree.add(21, "python a.py", parent=20)
    assert trainers_in_words(look.look(20))[-1] == "use that one: steersman attach 21"
    tree.add(22, "python b.py", parent=20)
    said = trainers_in_words(look.look(20))
    assert said == [
        "below it there train:",
        "  21  python a.py",
        "  22  python b.py",
        "they are not the ranks of one job; attach to each of them by itself: steersman attach PID",
    ]
    tree.add(30, "bash ranks.sh", files=())
    tree.add(31, "python a.py", parent=30, environ="RANK=1")
    tree.add(32, "python a.py", parent=30, environ="RANK=0")
    assert trainers_in_words(look.look(30))[-1] == "take all ranks of the job: steersman attach 30 --all"


def test_those_of_other_users_are_counted_and_not_offered(tree: Tree, look: Preflight) -> None:
    tree.add(20, "init", files=())
    tree.add(21, "python a.py", parent=20, Uid="8\t8\t8\t8")
    report = look.look(20)
    assert (report.trainers, report.foreign) == ((), 1)
    tree.add(22, "python b.py", parent=20)
    assert trainers_in_words(look.look(20))[1:] == [
        "  22  python b.py",
        "use that one: steersman attach 22",
        "below it there also train, of other users or in other containers: 1",
    ]


def test_a_job_that_starts_an_evaluation_is_none(tree: Tree, look: Preflight) -> None:
    tree.add(20, "python train.py")
    tree.add(21, "python eval.py", parent=20)
    assert look.look(20).ok


# Real processes


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "100"]) as process:
        while not Target(process.pid).program.endswith("sleep"):
            pass
        yield process
        process.kill()


def test_a_real_process_that_is_no_python_and_one_that_is_stopped(sleeper: subprocess.Popen[bytes]) -> None:
    assert list(found(Preflight().look(sleeper.pid))) == ["python"]
    sleeper.send_signal(signal.SIGSTOP)
    while Target(sleeper.pid).state != "T":
        pass
    assert list(found(Preflight().look(sleeper.pid))) == ["stopped", "python"]
    sleeper.send_signal(signal.SIGCONT)
    assert sleeper.poll() is None


def test_a_real_zombie() -> None:
    process = subprocess.Popen(["true"])
    while Target(process.pid).state != "Z":
        pass
    assert list(found(Preflight().look(process.pid))) == ["alive"]
    process.wait()


def test_ourselves_have_torch_or_not() -> None:
    said = found(Preflight().look(os.getpid()))
    assert set(said) <= {"torch"}


async def test_the_command(home: Home, sleeper: subprocess.Popen[bytes]) -> None:
    code, out, err = await home.done("preflight", str(sleeper.pid))
    words = f"process {sleeper.pid} is no Python: sleep 100\n  give the number of the Python that trains\n"
    assert (code, out, err) == (5, words, "")
    code, out, err = await home.done("preflight", "--json", str(sleeper.pid))
    assert (code, err) == (5, "")
    assert json.loads(out) == {
        "pid": sleeper.pid,
        "ok": False,
        "command": "sleep 100",
        "python": None,
        "torch": None,
        "way": None,
        "rank": None,
        "world_size": None,
        "obstacles": [
            {
                "check": "python",
                "message": f"process {sleeper.pid} is no Python: sleep 100",
                "advice": "give the number of the Python that trains",
            }
        ],
        "trainers": [],
    }
    assert (await home.done("preflight", "4194305"))[0] == 4
    assert (await home.done("preflight", "0"))[0] == 2
