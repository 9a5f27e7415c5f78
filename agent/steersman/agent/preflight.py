"""Whether a process can be entered, found out before anything is touched; and if not, why and what to do."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from steersman.agent.inject import ptrace, symbols
from steersman.agent.inject.elf import ElfError
from steersman.agent.inject.ways import REMOTE_EXEC_SINCE, RemoteExec, way_into
from steersman.agent.target import Target, by_rank

OLDEST_PYTHON = (3, 9)
OLDEST_TORCH = (2, 4)
_SECCOMP_STRICT = "1"
_CAP_SYS_PTRACE = 19


@dataclass(frozen=True)
class Obstacle:
    """One thing that stands in the way.

    Attributes:
        check: its short name, for scripts; see docs/attach.md.
        message: what it is.
        advice: what to do about it; may be empty.
    """

    check: str
    message: str
    advice: str = ""


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        pid: the process.
        command: its command line.
        obstacles: what stands in the way; none where it can be entered.
        python: its Python's version; empty where it has none.
        torch: its torch's version; empty where it has none or that is not to be told.
        way: `ptrace` or `remote_exec`; empty where there is an obstacle.
        rank: from its environment; None where there is none.
        world_size: likewise.
        trainers: its descendants that train, where it does not itself; without those that nobody here may enter.
        foreign: how many of its descendants that train belong to other users or are in other containers.
    """

    pid: int
    command: str
    obstacles: tuple[Obstacle, ...] = ()
    python: str = ""
    torch: str = ""
    way: str = ""
    rank: int | None = None
    world_size: int | None = None
    trainers: tuple[Target, ...] = ()
    foreign: int = 0

    @property
    def ok(self) -> bool:
        """Whether it can be entered."""
        return not self.obstacles

    @property
    def one_job(self) -> bool:
        """Whether those below it are the ranks of one job, which `attach --all` takes."""
        return bool(by_rank({one.pid: one.rank for one in self.trainers}))


@dataclass(frozen=True)
class Preflight:
    """Looks at processes from outside.

    Args:
        proc: where /proc is.
        uid: who we are.
        own: the number of our own process.
        watched: the name of the job that a process is watched as already, or an empty text.
        forbidden: why we may trace nobody at all, or an empty text.
        machine: what kind of processor this is.
    """

    proc: str = "/proc"
    uid: int = field(default_factory=os.geteuid)
    own: int = field(default_factory=os.getpid)
    watched: Callable[[int], str] = lambda pid: ""
    forbidden: Callable[[], str] = ptrace.ptrace_forbidden
    machine: str = field(default_factory=platform.machine)

    def look(self, pid: int) -> Report:
        """Whether a process can be entered."""
        target = Target(pid, self.proc)
        if not target.exists:
            gone = Obstacle("exists", f"there is no process {pid}", "`ps -ef | grep python` shows those that run")
            return Report(pid, "", (gone,))
        obstacles = tuple(self._obstacles(target))
        if obstacles and obstacles[0].check != "alive" and not target.alive:
            # It ended while it was looked at: what could not be read is no obstacle.
            obstacles = (Obstacle("exists", f"process {pid} has ended", "`ps -ef | grep python` shows those that run"),)
        version = target.python()
        below = target.trainers() if any(o.check in ("python", "torch", "launcher") for o in obstacles) else []
        trainers = tuple(one for one in below if self.ours(one))
        return Report(
            pid,
            target.command,
            obstacles,
            f"{version[0]}.{version[1]}" if version else "",
            target.torch_version(),
            way_into(version[:2]).name if version and not obstacles else "",
            target.number("RANK"),
            target.number("WORLD_SIZE"),
            trainers,
            len(below) - len(trainers),
        )

    def ours(self, target: Target) -> bool:
        """Whether a process belongs to this user, and is not in another container."""
        return not any((*self._owner(target), *self._namespaces(target)))

    def _obstacles(self, target: Target) -> Iterator[Obstacle]:
        """What stands in the way; what makes the questions after it idle ends the search."""
        pid = target.pid
        if not target.alive:
            yield Obstacle("alive", f"process {pid} has ended; only its parent has not taken note of it yet")
            return
        blocked = [*self._owner(target), *self._namespaces(target)]
        yield from blocked
        if blocked:
            return
        yield from self._condition(target)
        if not self._is_python(target):
            words = f"process {pid} is no Python: {target.command[:80]}"
            yield Obstacle("python", words, "give the number of the Python that trains")
            return
        yield from self._python(target)
        yield from self._torch(target)
        yield from self._permission(target)
        job = self.watched(pid)
        if job:
            yield Obstacle("watched", f"process {pid} is already watched as {job}", f"steersman show {job}")

    def _owner(self, target: Target) -> Iterator[Obstacle]:
        uids = target.status("Uid").split()
        if uids and any(int(uid) != self.uid for uid in uids[:3]):
            words = f"process {target.pid} belongs to user {uids[0]}, and you are user {self.uid}"
            # The superuser could enter it, but the job could then not reach the agent's socket.
            yield Obstacle("user", words, f"run this as that user: sudo -u '#{uids[0]}' steersman attach {target.pid}")

    def _namespaces(self, target: Target) -> Iterator[Obstacle]:
        own = Target(self.own, self.proc)
        for kind, what in (("pid", "numbers of processes"), ("mnt", "files")):
            theirs, ours = target.namespace(kind), own.namespace(kind)
            if theirs and ours and theirs != ours:
                words = f"process {target.pid} is in another container: it has its own {what}"
                yield Obstacle(
                    "namespace",
                    words,
                    "run steersman inside that container, as in: docker exec NAME steersman attach 1",
                )
                return

    def _condition(self, target: Target) -> Iterator[Obstacle]:
        pid, tracer = target.pid, target.status("TracerPid")
        if tracer not in ("", "0"):
            name = Target(int(tracer), self.proc).command
            words = f"process {pid} is already traced by process {tracer} ({name[:60]})"
            yield Obstacle("traced", words, "end that debugger or strace first: the kernel allows one at a time")
        elif target.state in ("T", "t"):
            words = f"process {pid} is stopped, and could not run what is put into it"
            yield Obstacle("stopped", words, f"continue it first: kill -CONT {pid}")
        if target.status("Seccomp") == _SECCOMP_STRICT:
            yield Obstacle(
                "seccomp", f"process {pid} runs under strict seccomp and would be killed for any system call"
            )
        if "shstk" in target.status("x86_Thread_features"):
            yield Obstacle("shadow_stack", f"process {pid} runs with a shadow stack, which forbids calls from outside")
        if target.environ.get("STEERSMAN") == "off":
            words = f"process {pid} was started with STEERSMAN=off: it is to be left alone"
            yield Obstacle("switched_off", words, "start it without that variable")

    def _is_python(self, target: Target) -> bool:
        if target.python() is not None:
            return True
        try:
            symbols.find(target)
        except symbols.NotPythonError:
            return False
        except (symbols.SymbolsError, ElfError, OSError):
            pass
        return False

    def _python(self, target: Target) -> Iterator[Obstacle]:
        version = target.python()
        if version is None:
            return
        pid, words = target.pid, f"{version[0]}.{version[1]}"
        if version[:2] < OLDEST_PYTHON:
            yield Obstacle(
                "version", f"process {pid} runs Python {words}; the probe takes 3.9 or later", "use a newer Python"
            )
        if version[2]:
            yield Obstacle("version", f"process {pid} runs a free-threaded Python {words}, which is not supported yet")
        way = way_into(version[:2])
        if isinstance(way, RemoteExec):
            if target.environ.get("PYTHON_DISABLE_REMOTE_DEBUG"):
                text = f"process {pid} was started with PYTHON_DISABLE_REMOTE_DEBUG: its Python lets nobody in"
                yield Obstacle("remote_debug", text, "start it without that variable")
            return
        if version[:2] >= REMOTE_EXEC_SINCE:
            text = f"process {pid} runs Python {words}, whose own way in takes a steersman under the same version"
            yield Obstacle("version", text, f"install and run steersman with Python {words}")
        if self.machine != "x86_64":
            text = f"a running Python before 3.14 can be entered on x86-64 only, and this is {self.machine}"
            yield Obstacle("machine", text, "start the job with: steersman run -- COMMAND")
            return
        try:
            symbols.find(target)
        except (symbols.SymbolsError, ElfError) as error:
            yield Obstacle("symbols", f"process {pid} cannot be entered: {error}", "start it with: steersman run")
        except OSError as error:
            text = f"the memory map of process {pid} cannot be read: {error.strerror or error}"
            yield Obstacle("symbols", text, "run this as root, or start the job with: steersman run -- COMMAND")

    def _torch(self, target: Target) -> Iterator[Obstacle]:
        pid = target.pid
        has = bool(target.torch())
        trainers = target.trainers()
        if target.launches or (target.number("RANK") is None and any(t.number("RANK") is not None for t in trainers)):
            words = f"process {pid} does not train itself, it launches those that do"
            yield Obstacle("launcher", words, "" if trainers else "wait until it has started them")
        elif not has:
            words = f"process {pid} has not loaded torch"
            yield Obstacle(
                "torch", words, "" if trainers else "wait until it has, or give the number of the one that trains"
            )
        version = target.torch_version()
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if numbers is not None and (int(numbers[1]), int(numbers[2])) < OLDEST_TORCH:
            words = f"process {pid} has torch {version}; the probe takes 2.4 or later"
            yield Obstacle("torch_version", words, "upgrade torch in the job's environment")

    def _permission(self, target: Target) -> Iterator[Obstacle]:
        """Opening its memory takes the permission that tracing takes, asks every security module, touches nothing."""
        pid, scope = target.pid, self._ptrace_scope()
        capable = int(Target(self.own, self.proc).status("CapEff") or "0", 16) >> _CAP_SYS_PTRACE & 1
        forbidden = self.forbidden()
        if forbidden:
            words = f"this system forbids tracing altogether ({forbidden}), as a container's seccomp profile does"
            yield Obstacle("seccomp", words, "start the container with --cap-add SYS_PTRACE, or use: steersman run")
            return
        try:
            os.close(os.open(target.folder / "mem", os.O_RDWR | os.O_CLOEXEC))
            refused = scope >= 3 or (scope == 2 and not capable)
            reason = "its memory may be read, but not traced"
        except OSError as error:
            refused, reason = True, error.strerror or str(error)
        if not refused:
            return
        if scope and not capable:
            words = (
                f"the kernel lets no process trace another that is not its child (kernel.yama.ptrace_scope is {scope})"
            )
            advice = (
                "run this as root, or: sudo sysctl kernel.yama.ptrace_scope=0; in a container: --cap-add SYS_PTRACE"
                if scope < 3
                else "that setting holds until the next boot; start the job with: steersman run -- COMMAND"
            )
            yield Obstacle("ptrace_scope", words, advice)
        else:
            words = f"process {pid} may not be traced: {reason}"
            yield Obstacle("ptrace", words, "run this as root; in a container start it with --cap-add SYS_PTRACE")

    def _ptrace_scope(self) -> int:
        try:
            return int((Path(self.proc) / "sys/kernel/yama/ptrace_scope").read_text())
        except (OSError, ValueError):
            return 0  # a kernel without that module
