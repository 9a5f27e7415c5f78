"""What /proc says of a process, without touching it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LAUNCHERS = re.compile(
    r"(^|/)(torchrun|accelerate|deepspeed|torch\.distributed\.(run|launch)|accelerate\.commands\.\w+)$"
)
_HELPERS = re.compile(r"multiprocessing[.](spawn|forkserver|resource_tracker|semaphore_tracker)|compile_worker")
# In /proc/PID/stat, counted from the state on (proc_pid_stat(5)), and PF_EXITING of Linux's include/linux/sched.h.
_FLAGS = 6
_EXITING = 0x4
_PYTHON = re.compile(r"(?:^|/)(?:libpython|python)(\d)\.(\d+)(t?)(?=$|[/.]|\.so)")


@dataclass(frozen=True)
class Mapping:
    """A part of a file in a process's memory."""

    start: int
    end: int
    code: bool
    offset: int
    inode: int
    path: str


@dataclass(frozen=True)
class Target:
    """One process.

    Args:
        pid: its number.
        proc: where /proc is.
    """

    pid: int
    proc: str = "/proc"

    @property
    def folder(self) -> Path:
        """Its folder."""
        return Path(self.proc) / str(self.pid)

    @property
    def exists(self) -> bool:
        """Whether there is such a process."""
        return (self.folder / "stat").exists()

    @property
    def _stat(self) -> list[str]:
        # What follows its name, which may have anything in it; empty where it is gone.
        return self._text("stat").rpartition(")")[2].split()

    @property
    def state(self) -> str:
        """One letter: R, S, D, T (stopped), t (traced), Z, X; empty where it is gone."""
        after = self._stat
        return after[0] if after else ""

    @property
    def alive(self) -> bool:
        """Whether it runs, or could: it is neither gone, nor a zombie, nor on its way out with its memory given up."""
        after = self._stat
        if not after or after[0] in ("Z", "X"):
            return False
        return len(after) <= _FLAGS or not int(after[_FLAGS]) & _EXITING

    @property
    def parent(self) -> int:
        """Its parent's number; 0 where it is gone."""
        after = self._stat
        return int(after[1]) if len(after) > 1 else 0

    @property
    def words(self) -> list[str]:
        """Its command line."""
        return [word.decode(errors="replace") for word in self._bytes("cmdline").split(b"\0") if word]

    @property
    def command(self) -> str:
        """Its command line, for people."""
        return " ".join(self.words)[:512] or self._text("comm").strip() or "?"

    @property
    def environ(self) -> dict[str, str]:
        """The environment that it began with."""
        pairs = (entry.partition(b"=") for entry in self._bytes("environ").split(b"\0") if b"=" in entry)
        return {name.decode(errors="replace"): value.decode(errors="replace") for name, _, value in pairs}

    def status(self, name: str) -> str:
        """One line of its status; empty where it has none."""
        for line in self._text("status").splitlines():
            if line.startswith(f"{name}:"):
                return line.partition(":")[2].strip()
        return ""

    def namespace(self, kind: str) -> str:
        """Which namespace of a kind it is in; empty where that cannot be read."""
        try:
            return os.readlink(self.folder / "ns" / kind)
        except OSError:
            return ""

    @property
    def program(self) -> str:
        """The path of its executable, with ` (deleted)` where that was replaced; empty where it cannot be read."""
        try:
            return os.readlink(self.folder / "exe")
        except OSError:
            return ""

    def mappings(self) -> list[Mapping]:
        """The files in its memory.

        Raises:
            OSError: they may not be read.
        """
        found = []
        for line in (self.folder / "maps").read_text(errors="replace").splitlines():
            fields = line.split(None, 5)
            if len(fields) == 6 and fields[5].startswith("/"):
                start, _, end = fields[0].partition("-")
                code = "x" in fields[1]
                found.append(Mapping(int(start, 16), int(end, 16), code, int(fields[2], 16), int(fields[4]), fields[5]))
        return found

    def torch(self) -> str:
        """The folder of the torch that it has loaded; empty where it has none."""
        try:
            return next((m.path.rpartition("/lib/")[0] for m in self.mappings() if "/libtorch_python." in m.path), "")
        except OSError:
            return ""

    def torch_version(self) -> str:
        """The version of that torch as its files say; empty where they do not."""
        try:
            text = (Path(self.torch()) / "version.py").read_text()
        except OSError:
            return ""
        found = re.search(r"_{2}version_{2} = ['\"]([^'\"]+)", text)
        return found[1] if found else ""

    def python(self) -> tuple[int, int, bool] | None:
        """Its Python's version, and whether it is a free-threaded one; None where that is not to be seen."""
        try:
            paths = [m.path.removesuffix(" (deleted)") for m in self.mappings()]
        except OSError:
            return None
        # A library's name says it best, then the program's; a folder's name such as lib/python3.11 last.
        for wanted in ("libpython", Path(self.program.removesuffix(" (deleted)")).name, "/"):
            for path in paths:
                found = _PYTHON.search(path)
                if found and wanted and wanted in (path if wanted == "/" else Path(path).name):
                    return int(found[1]), int(found[2]), bool(found[3])
        return None

    @property
    def launches(self) -> bool:
        """Whether its command line is that of a launcher of training processes."""
        return any(_LAUNCHERS.search(word) for word in self.words[:6])

    @property
    def helps(self) -> bool:
        """Whether it is one of the processes that Python and torch start for themselves."""
        return any(_HELPERS.search(word) for word in self.words)

    def number(self, name: str) -> int | None:
        """A number from its environment, such as RANK."""
        text = self.environ.get(name, "")
        return int(text) if text.isdigit() else None

    @property
    def rank(self) -> int | None:
        """Its number among the processes of its job, as its launcher put it into its environment; None without one."""
        rank = self.number("RANK")
        if rank is None and self.number("WORLD_SIZE") is not None:
            # Lightning says no more than this; on one host the two are the same.
            rank = self.number("LOCAL_RANK")
        return rank

    @property
    def trains(self) -> bool:
        """Whether it is a Python with torch that starts no others in its place."""
        return not self.helps and not self.launches and bool(self.torch())

    def descendants(self) -> list[Target]:
        """Those that it started, and those that these started, in the order of their numbers."""
        children: dict[int, list[int]] = {}
        for one in processes(self.proc):
            children.setdefault(one.parent, []).append(one.pid)
        found, waiting = [], [self.pid]
        while waiting:
            for pid in children.get(waiting.pop(), ()):
                found.append(Target(pid, self.proc))
                waiting.append(pid)
        return sorted(found, key=lambda one: one.pid)

    def trainers(self) -> list[Target]:
        """Its descendants that train: Pythons with torch that are neither helpers nor mere forks of one another."""
        found: list[Target] = []
        # A fork has its parent's environment as well; Lightning starts its ranks with its own command line.
        begun = {self.pid: (self.words, self._bytes("environ"))}
        for one in self.descendants():
            begun[one.pid] = (one.words, one._bytes("environ"))
            forked = begun.get(one.parent) == begun[one.pid]
            if not forked and one.trains:
                found.append(one)
        return found

    def _text(self, name: str) -> str:
        return self._bytes(name).decode(errors="replace")

    def _bytes(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError:
            return b""


def by_rank(ranks: dict[int, int | None]) -> list[int]:
    """Processes in the order of their ranks; none where they are not the ranks of one job.

    Args:
        ranks: the rank of each process, None where it has none.

    >>> by_rank({21: 1, 22: 0}), by_rank({21: None}), by_rank({21: None, 22: None}), by_rank({21: 0, 22: 0})
    ([22, 21], [21], [], [])
    """
    numbers = set(ranks.values())
    if len(ranks) > 1 and (None in numbers or len(numbers) < len(ranks)):
        return []
    return sorted(ranks, key=lambda pid: ranks[pid] or 0)


def processes(proc: str = "/proc") -> Iterator[Target]:
    """All processes."""
    for folder in Path(proc).iterdir():
        if folder.name.isdigit():
            yield Target(int(folder.name), proc)
