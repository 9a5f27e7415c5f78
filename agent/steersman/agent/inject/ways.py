"""The ways into a Python that runs."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from steersman.agent.inject import ptrace, symbols, thread
from steersman.agent.inject.elf import ElfError
from steersman.agent.target import Target

REMOTE_EXEC_SINCE = (3, 14)
_TRIES = 5
_BETWEEN = 0.02


class EntryError(Exception):
    """The process could not be entered; it runs on as it was."""


@dataclass(frozen=True)
class Entry:
    """What is to be run in the process.

    Attributes:
        script: a file with a function `enter(request)`.
        request: the file that it is called with.
        failed: a file that is made where the process can start no thread for it.
    """

    script: Path
    request: Path
    failed: Path

    def source(self) -> str:
        """Python that runs it, binds no name and raises nothing; for a thread of its own."""
        inner = "try:\n exec(compile(open(E,'rb').read(),E,'exec'))\n enter(R)\nexcept BaseException:\n pass\n"
        names = f"{{'__name__':'_steersman_attach','E':{str(self.script)!r},'R':{str(self.request)!r}}}"
        return f"__import__('builtins').exec({inner!r},{names})\n"

    def starter(self) -> str:
        """Python that starts the source in a thread, binds no name and raises nothing; for the main thread.

        Threads run no signal handlers: what the job's own handlers raise cannot be caught in there by mistake.
        """
        return (
            f"try:\n __import__('_thread').start_new_thread(__import__('builtins').exec,({self.source()!r},{{}}))\n"
            f"except Exception:\n __import__('os').close(__import__('os').open({str(self.failed)!r},65,384))\n"
        )


class Way(Protocol):
    """One way in."""

    name: str

    def enter(self, target: Target, entry: Entry) -> float:
        """Have the process run the entry when its main thread next can; seconds for which it was stopped.

        Raises:
            EntryError: it cannot be; the process is as it was.
        """
        ...


class PendingCall:
    """Python's own queue of calls to be made at a safe point, filled from outside through ptrace.

    The call starts a thread, and the thread runs the entry.
    """

    name = "ptrace"

    def enter(self, target: Target, entry: Entry) -> float:
        """See `Way.enter`."""
        try:
            where, source = symbols.find(target), entry.source().encode()
            what = ptrace.Call(
                function=where.add_pending_call,
                page=lambda place: thread.page(where, place, source),
                size=len(source) + 4096,
                syscall=where.syscall,
                breakpoint=where.breakpoint,
                waits=where.waits,
            )
            return self._called(target.pid, what)
        except (symbols.SymbolsError, ElfError, ptrace.PtraceError) as error:
            raise EntryError(str(error)) from None
        except OSError as error:
            raise EntryError(f"process {target.pid} cannot be read: {error.strerror or error}") from None

    def _called(self, pid: int, what: ptrace.Call) -> float:
        stopped, words = 0.0, ""
        for _ in range(_TRIES):
            try:
                entered = ptrace.call(pid, what)
            except ptrace.BusyError as error:
                words = str(error)
            else:
                stopped = max(stopped, entered.stopped)
                if entered.value == 0:
                    return stopped
                words = f"process {pid} takes no calls: its queue of pending calls is full"
            time.sleep(_BETWEEN)
        raise EntryError(words)


class RemoteExec:
    """`sys.remote_exec`, where both sides are the same Python from 3.14 on.

    Args:
        remote_exec: `sys.remote_exec`.
    """

    name = "remote_exec"

    def __init__(self, remote_exec: RemoteExecFunction) -> None:
        self._remote_exec = remote_exec

    def enter(self, target: Target, entry: Entry) -> float:
        """See `Way.enter`."""
        script = entry.request.with_suffix(".py")
        try:
            script.write_text(entry.starter())
            self._remote_exec(target.pid, str(script))
        except (OSError, RuntimeError, ValueError) as error:
            raise EntryError(f"process {target.pid} cannot be entered: {error}") from None
        return 0.0


class RemoteExecFunction(Protocol):
    """The shape of `sys.remote_exec`."""

    def __call__(self, pid: int, script: str) -> None:
        """Have a process run a script."""


def way_into(version: tuple[int, int], own: tuple[int, int] | None = None, system: object = sys) -> Way:
    """The way into a Python of this version from a Python of our own one."""
    remote_exec = getattr(system, "remote_exec", None)
    ours = sys.version_info[:2] if own is None else own
    if remote_exec is not None and version >= REMOTE_EXEC_SINCE and ours == version:
        return RemoteExec(remote_exec)
    return PendingCall()
