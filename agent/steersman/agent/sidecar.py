"""The agent: the process beside the jobs of one host and user that talks to the daemon for all of them.

Started on demand by `steersman run` and `watch`; leaves when it has nothing left to do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import getpass
import importlib.metadata
import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steersman.agent import paths
from steersman.agent.errors import AgentError
from steersman.agent.events import fields, log_to

if TYPE_CHECKING:
    from steersman.agent.guardian import Guardian
    from steersman.agent.link import Link
    from steersman.agent.local import Listener
    from steersman.agent.roster import Roster

TAKE_PATIENCE = 10.0
"""Seconds that a new agent waits for one that is about to leave."""

_log = logging.getLogger("steersman.agent")


@dataclass(frozen=True)
class Settings:
    """How one agent runs.

    Attributes:
        daemon: HOST:PORT of the daemon.
        socket: path of the AF_UNIX socket to listen on.
        spools: folder of all spools for this daemon.
        lock: held for as long as the agent lives.
        deaths: agents that died before this one, each soon after it began.
        tick: seconds between two looks at the socket. To block in recv instead would pre-empt the sender.
        flush: seconds between two flushes of rows to the spool.
        leave_after: seconds without a job or anything to deliver after which it leaves.
        give_up_after: seconds without a job and without progress in delivering after which it leaves.
    """

    daemon: str
    socket: str
    spools: Path
    lock: Path
    deaths: int = 0
    tick: float = 0.02
    flush: float = 0.1
    leave_after: float = 5.0
    give_up_after: float = 600.0


class Sidecar:
    """One agent's life: serve until there is nothing left to do, or until it is told to stop.

    Args:
        settings: how.
        listener: the local socket.
        roster: the jobs.
        link: the stream to the daemon.
        guardian: becomes the next agent where this one dies.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        settings: Settings,
        listener: Listener,
        roster: Roster,
        link: Link,
        guardian: Guardian,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._roster = roster
        self._link = link
        self._guardian = guardian
        self._clock = clock
        self._stopping = asyncio.Event()
        self._syncing: asyncio.Future[OSError | None] | None = None
        self._unsynced: list[int] = []

    def stop(self) -> None:
        """Leave at the next tick, keeping what is not delivered."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until done."""
        link = asyncio.create_task(self._link.run())
        try:
            await self._loop(link)
        finally:
            link.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await link
            if self._syncing is not None:
                await self._syncing
            self._roster.close()

    async def _loop(self, link: asyncio.Task[None]) -> None:
        settings, roster = self._settings, self._roster
        next_flush = next_check = 0.0
        progress, since = (True, 0), self._clock()
        while not self._stopping.is_set() and not roster.stop_asked:
            busy = self._listener.tick()
            now = self._clock()
            if busy:
                since = now  # whoever asked whether we are there may send a job's probe next
            if now >= next_flush:
                next_flush = now + settings.flush
                self._sync(roster.flush())
            if now >= next_check:
                next_check = now + 0.5
                self._tend_guardian(now)
                roster.check()
                state = (
                    roster.live() or bool(self._listener.clients),
                    sum(a.unsent_rows for a in roster.attempts.values()),
                )
                if state[0] or state != progress:
                    progress, since = state, now
                patience = settings.give_up_after if roster.pending() else settings.leave_after
                if now - since >= patience:
                    if self._listener.nobody_at_the_door():
                        _log.info("agent_idle", extra=fields(undelivered=len(roster.attempts)))
                        return
                    since = now
            if link.done():
                link.result()  # a defect of ours: better a clear death and a new start than a deaf agent
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), settings.tick)

    def _tend_guardian(self, now: float) -> None:
        try:
            self._guardian.tend(now)
        except OSError as error:  # there may be no more processes to be had: tried again later
            _log.warning("guardian_failed", extra=fields(reason=str(error)))

    def _sync(self, descriptors: list[int]) -> None:
        """Bring the spool to disk in another thread: a slow disk would otherwise fill the probes' sockets."""
        from steersman.agent.spool import flush

        self._unsynced += descriptors
        if not self._unsynced or (self._syncing is not None and not self._syncing.done()):
            return
        descriptors, self._unsynced = self._unsynced, []
        self._syncing = asyncio.get_running_loop().run_in_executor(None, flush, descriptors)


@contextlib.contextmanager
def held(lock: Path) -> Iterator[bool]:
    """Hold a lock file for as long as the block lasts; False where another process holds it."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            yield False
            return
        with contextlib.suppress(FileNotFoundError):
            if os.stat(lock).st_ino == os.fstat(descriptor).st_ino:
                break
        os.close(descriptor)  # its last holder removed it between our open and our lock
    try:
        yield True
    finally:
        with contextlib.suppress(FileNotFoundError):
            lock.unlink()
        os.close(descriptor)


def take(settings: Settings, stack: contextlib.ExitStack) -> bool:
    """Hold the lock until the stack unwinds; False where another agent has it and listens.

    One that holds it and does not listen is about to leave, and what we were started for has not reached it.
    """
    deadline = time.monotonic() + TAKE_PATIENCE
    while not stack.enter_context(held(settings.lock)):
        if _listens(settings.socket) or time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as made:
        try:
            made.connect(path)
        except OSError:
            return False
    return True


async def serve(settings: Settings) -> None:
    """Run one agent; the caller holds its lock."""
    from steersman.agent.guardian import Guardian
    from steersman.agent.link import Identity, Link
    from steersman.agent.local import Listener
    from steersman.agent.reception import Reception
    from steersman.agent.roster import Roster

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no entry in the password file, as in many containers
        user = f"uid {os.getuid()}"
    host = socket.gethostname()
    roster = Roster(settings.spools, host, user, time.time)
    roster.recover()
    identity = Identity(str(uuid.uuid4()), host, importlib.metadata.version("steersman"))
    link = Link(settings.daemon, identity, roster, time.time)
    roster.attach(link)
    reception = Reception(roster, time.time)
    listener = Listener(settings.socket, reception.received, reception.left)
    guardian = Guardian(settings.daemon, settings.socket, settings.deaths)
    sidecar = Sidecar(settings, listener, roster, link, guardian, time.monotonic)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, sidecar.stop)
    listener.open()
    _log.info("agent_started", extra=fields(pid=os.getpid(), daemon=settings.daemon, socket=settings.socket))
    try:
        await sidecar.run()
        guardian.dismiss()
    finally:
        listener.close()
        _log.info("agent_stopped", extra=fields(pid=os.getpid(), undelivered=len(roster.attempts)))


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the agent process; a second one for the same daemon exits quietly."""
    parser = argparse.ArgumentParser(prog="steersman-agent", description=__doc__)
    parser.add_argument("--daemon", default=paths.DEFAULT_DAEMON, help="HOST:PORT of the daemon")
    parser.add_argument("--socket", help="path of the socket to listen on")
    parser.add_argument("--detach", action="store_true", help="go on in the background")
    parser.add_argument("--deaths", type=int, default=0, help="agents that died before it, each soon after it began")
    given = parser.parse_args(arguments)
    # `run` starts us while it has signals blocked.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    places = paths.places()
    try:
        paths.private(places.runtime)
    except AgentError as error:
        parser.error(str(error))
    if given.detach and os.fork():
        # The one who started us reaps this process; the agent itself belongs to init and not to a training job.
        os._exit(0)
    settings = Settings(
        daemon=given.daemon,
        socket=given.socket or places.socket(given.daemon),
        spools=places.spools(given.daemon),
        lock=places.lock(given.daemon),
        deaths=given.deaths,
    )
    with contextlib.ExitStack() as stack:
        if not take(settings, stack):
            return 0
        handler = log_to(places.log(given.daemon))
        try:
            asyncio.run(serve(settings))
        except Exception:  # noqa: BLE001 - the last border of this process: nobody reads its stderr
            _log.exception("agent_failed")
            return 1
        finally:
            handler.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
