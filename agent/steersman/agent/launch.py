"""`steersman run`: starts a command with the probe in its environment, stays beside it, and tells how it ended."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.agent.bystander import Bystander
from steersman.agent.caller import Caller
from steersman.agent.errors import AgentError, AgentUnavailableError
from steersman.agent.inject import pack
from steersman.agent.limits import Limits
from steersman.agent.paths import Places, private
from steersman.agent.probe import packet
from steersman.agent.start import ensure_agent

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
DURABLE_PATIENCE = 10.0
UNREACHABLE_PATIENCE = 1.0
# Modules that start others: what follows them names the job.
_LAUNCHERS = ("torch.distributed.run", "torch.distributed.launch", "accelerate.commands.launch")
_SI_KERNEL = 0x80
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Launch:
    """What is to be run, and as what.

    Attributes:
        command: the words of the command.
        daemon: HOST:PORT of the daemon.
        job: the name asked for.
        policy: what the daemon may do alone.
        limits: the owner's bounds.
        attempt_id: UUID of this attempt.
        budget: seconds a step that the probe may always cost; beyond it and 1 % of the step it thins what it measures.
    """

    command: tuple[str, ...]
    daemon: str
    job: str
    policy: str = "observe"
    limits: Limits = field(default_factory=Limits)
    attempt_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    budget: float = 100e-6


def job_name(command: Sequence[str]) -> str:
    """A name for a command: its script's, its module's, or its own.

    >>> job_name(["torchrun", "--nproc-per-node=2", "examples/pretrain.py", "--lr", "3"])
    'pretrain'
    >>> job_name(["python", "-m", "lab.train", "--config", "x.py"])
    'train'
    >>> job_name(["bash", "jobs/sweep.sh"])
    'sweep'
    """
    for place, word in enumerate(command[1:], 1):
        if word == "-m" and place + 1 < len(command) and command[place + 1] not in _LAUNCHERS:
            return command[place + 1].rpartition(".")[2] or "job"
        if word.endswith((".py", ".sh")) and not word.startswith("-"):
            return Path(word).stem or "job"
    return Path(command[0]).stem or "job"


def environment(launch: Launch, luggage: Path, socket: str, environ: dict[str, str]) -> dict[str, str]:
    """The job's environment: the user's own, with the probe in front of PYTHONPATH."""
    entries = [
        e for e in environ.get("PYTHONPATH", "").split(os.pathsep) if e and not (Path(e) / "_steersman").is_dir()
    ]
    return {
        **environ,
        "PYTHONPATH": os.pathsep.join([str(luggage), *entries]),
        "STEERSMAN_ATTEMPT": launch.attempt_id,
        "STEERSMAN_SOCKET": socket,
        "STEERSMAN_JOB": launch.job,
        "STEERSMAN_POLICY": launch.policy,
        "STEERSMAN_LIMITS": json.dumps(launch.limits.as_fields()),
        "STEERSMAN_DAEMON": launch.daemon,
        "STEERSMAN_BUDGET": repr(launch.budget),
    }


class Launcher:
    """One run of a command.

    Args:
        launch: what to run.
        places: where things are kept.
        say: tells the user one line.
    """

    def __init__(self, launch: Launch, places: Places, say: Callable[[str], None]) -> None:
        self._launch = launch
        self._places = places
        self._say = say
        self._caller: Caller | None = None
        self._said_unreachable = False
        self._granted = launch.job
        self._next_call = 0.0
        self._bystander: Bystander | None = None

    def run(self) -> int:
        """Run the command to its end; its exit code, 128 + signal where one killed it.

        Signals are blocked before the child exists and taken one by one, so that none can fall between two lines.
        """
        watched = {*FORWARDED, signal.SIGCHLD}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        try:
            environ = self._prepare()
            try:
                child = self._spawn(environ, before)
            except FileNotFoundError:
                self._say(f"{self._launch.command[0]}: command not found")
                return 127
            except (PermissionError, OSError) as error:
                self._say(f"{self._launch.command[0]}: cannot be run: {error.strerror}")
                return 126
            self._bystander = Bystander(FORWARDED)
            self._bystander.start()
            self._announce(child.pid)
            if self._caller is not None and sys.stderr.isatty():
                # For the one who sits before it; logs of a batch system have no use for it.
                self._say(f"watching this as {self._launch.job!r}: steersman show {self._launch.job}, or steersman top")
            code = self._wait(child, self._bystander, watched)
            self._report(code)
            return code if code >= 0 else 128 - code
        finally:
            if self._caller is not None:
                self._caller.close()
            if self._bystander is not None:
                self._bystander.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _prepare(self) -> dict[str, str]:
        environ = dict(os.environ)
        socket = self._places.socket(self._launch.daemon)
        try:
            self._caller = ensure_agent(self._launch.daemon, self._places)
        except AgentError as error:
            self._say(f"{error}; the job runs without being watched")
        try:
            luggage = self._luggage()
        except (OSError, AgentError) as error:
            self._say(f"the probe cannot be carried into the job ({error}); the job runs without being watched")
            return environ
        return environment(self._launch, luggage, socket, environ)

    def _luggage(self) -> Path:
        try:
            return pack(self._places.cache)
        except OSError:
            return pack(private(self._places.runtime))  # a home that cannot be written, as in many containers

    def _spawn(self, environ: dict[str, str], mask: set[int | signal.Signals]) -> subprocess.Popen[bytes]:
        libc = ctypes.CDLL(None, use_errno=True)
        parent = os.getpid()

        def in_child() -> None:
            # Whoever kills us means the job: it must not go on as nobody's.
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(128 + signal.SIGTERM)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

        # preexec_fn is safe here: this process has one thread.
        return subprocess.Popen(self._launch.command, env=environ, preexec_fn=in_child)

    def _announce(self, pid: int) -> None:
        if self._caller is None:
            return
        message = {
            "attempt_id": self._launch.attempt_id,
            "job": self._launch.job,
            "policy": self._launch.policy,
            "limits": self._launch.limits.as_fields(),
            "command": " ".join(self._launch.command)[:512],
            "pid": pid,
            "started_at": time.time(),
        }
        try:
            self._caller.send(packet.LAUNCH, message)
        except AgentError:
            self._caller.close()

    def _wait(self, child: subprocess.Popen[bytes], bystander: Bystander, watched: set[signal.Signals]) -> int:
        asked_at = time.monotonic() + 1.5
        while True:
            code = child.poll()
            if code is not None:
                return code
            got = signal.sigtimedwait(watched, 0.25)
            if got is None:
                bystander.quiet()
            elif got.si_signo != signal.SIGCHLD and not self._has_it(child.pid, got, bystander):
                child.send_signal(got.si_signo)
            self._tend(child.pid)
            if time.monotonic() >= asked_at:
                asked_at = float("inf")
                self._warn_unreachable()

    def _has_it(self, pid: int, got: signal.struct_siginfo, bystander: Bystander) -> bool:
        """Whether the command has got a signal from whoever sent it to us.

        Passing it on would be a second Ctrl-C, which many loops take as "now, without saving".
        """
        to_all = bystander.saw(got.si_signo)
        if got.si_code == _SI_KERNEL:
            return True  # what comes from the terminal goes to the whole foreground group
        try:
            return to_all and os.getpgid(pid) == os.getpgrp()
        except ProcessLookupError:
            return True

    def _tend(self, pid: int) -> None:
        """Hear what the agent says; start another one where it has died."""
        if self._caller is None:
            return
        for welcome in self._caller.welcomes():
            self._hear_name(str(welcome.get("job") or ""))
        if self._caller.connected or time.monotonic() < self._next_call:
            return
        self._next_call = time.monotonic() + 5.0
        try:
            self._caller = ensure_agent(self._launch.daemon, self._places)
        except AgentError:
            return
        self._announce(pid)

    def _hear_name(self, name: str) -> None:
        if name and name != self._granted:
            self._granted = name
            self._say(f"the name {self._launch.job!r} is in use by a job that runs: this one is {name!r}")

    def _query(self) -> dict[str, Any]:
        if self._caller is None or not self._caller.connected:
            return {}
        try:
            return self._caller.ask(packet.QUERY, {"what": "job", "attempt_id": self._launch.attempt_id}, 2.0)
        except AgentUnavailableError:
            return {}

    def _warn_unreachable(self) -> None:
        reply = self._query()
        if reply and not reply.get("connected") and not self._said_unreachable:
            self._said_unreachable = True
            self._say(f"{self._missing(reply)}: the job runs on, its rows are kept in {self._where(reply)}")

    def _where(self, reply: dict[str, Any]) -> str:
        """Where rows are that the daemon does not have yet."""
        if reply.get("unwritten"):
            return f"the agent's memory, because they could not be written to disk: {reply['unwritten']}"
        return str(reply.get("spool") or self._places.spools(self._launch.daemon))

    def _missing(self, reply: dict[str, Any]) -> str:
        """Why no daemon takes rows: nobody is there, or whoever is there will not speak with us."""
        if reply.get("turned_away"):
            return f"the daemon at {self._launch.daemon} turns this agent away ({reply['turned_away']})"
        return f"no daemon answers at {self._launch.daemon}"

    def _report(self, code: int) -> None:
        """Tell the agent how the command ended, wait for what is not yet durable, and say what remains."""
        exit_message = {
            "attempt_id": self._launch.attempt_id,
            "exit_code": max(code, 0),
            "signal": max(-code, 0),
            "time": time.time(),
        }
        if self._caller is None:
            return
        for _ in range(2):
            try:
                reply = self._caller.ask(packet.EXIT, exit_message)
                break
            except AgentError:
                # It died with the job, or just before: a new one has the spool and wants to know the end.
                try:
                    self._caller = ensure_agent(self._launch.daemon, self._places)
                    self._announce(os.getpid())
                except AgentError:
                    continue
        else:
            self._say("the agent has gone; how the job ended will be reported as unknown")
            return
        seen = int(reply.get("samples_seen") or 0)
        reply = self._await_durable(reply)
        self._hear_name(str(reply.get("job") or ""))
        for welcome in self._caller.welcomes():
            self._hear_name(str(welcome.get("job") or ""))
        if not seen:
            self._say(NOTHING_SEEN)
        if reply.get("refused"):
            self._say(f"the daemon did not take this job: {reply['refused']}")
        unsent = int(reply.get("unsent_rows") or 0)
        if not reply.get("durable") and unsent:
            where = self._where(reply)
            if reply.get("connected"):
                self._say(f"{unsent} rows are not yet on the daemon's disk; the agent goes on sending; kept in {where}")
            else:
                self._said_unreachable = True
                self._say(f"{self._missing(reply)}: until one does, {unsent} rows wait in {where}")
        elif not reply.get("connected") and not self._said_unreachable:
            self._say(f"{self._missing(reply)}: how the job ended is kept and sent when one does")

    def _await_durable(self, reply: dict[str, Any]) -> dict[str, Any]:
        began = time.monotonic()
        while not reply.get("durable") and not reply.get("refused"):
            waited = time.monotonic() - began
            if waited >= DURABLE_PATIENCE or (not reply.get("connected") and waited >= UNREACHABLE_PATIENCE):
                break
            got = signal.sigtimedwait(FORWARDED, 0.05)
            if got is not None and got.si_signo not in (signal.SIGUSR1, signal.SIGUSR2):
                break  # whoever is in a hurry need not wait for us
            reply = self._query() or {**reply, "connected": False}
        return reply


NOTHING_SEEN = (
    "no optimizer step was seen: nothing was watched. Either the command makes no step of a torch optimizer, or its "
    "Python ignores the environment (-E, -I, -S), or it ran on another host or in a container"
)


def run(launch: Launch, places: Places, say: Callable[[str], None]) -> int:
    """Run a command under Steersman, or plainly where STEERSMAN=off; its exit code."""
    if os.environ.get("STEERSMAN") == "off":
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            os.execvp(launch.command[0], launch.command)
        except FileNotFoundError:
            say(f"{launch.command[0]}: command not found")
            return 127
        except OSError as error:
            say(f"{launch.command[0]}: cannot be run: {error.strerror}")
            return 126
    return Launcher(launch, places, say).run()


def end_like(code: int) -> int:
    """End as a shell would: of SIGINT where the command died of it, so that a script above us stops as well."""
    if code == 128 + signal.SIGINT:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return code
