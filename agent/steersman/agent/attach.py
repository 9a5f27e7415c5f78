"""`steersman attach` and `steersman detach`: into a job that already runs, and out of it again."""

from __future__ import annotations

import contextlib
import fcntl
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.agent.caller import Caller
from steersman.agent.errors import AgentError, AgentUnavailableError
from steersman.agent.inject import compile_for, pack
from steersman.agent.inject.ways import Entry, EntryError, Way, way_into
from steersman.agent.limits import Limits
from steersman.agent.paths import Places, private
from steersman.agent.preflight import Obstacle, Preflight, Report
from steersman.agent.probe import packet
from steersman.agent.start import ensure_agent
from steersman.agent.strays import on_paper, recall
from steersman.agent.target import Target

LINK_PATIENCE = 5.0
"""Seconds that an agent has to reach the daemon."""

_POLL = 0.01
_IMPORTING = 0.5


class AttachError(AgentError):
    """A process could not be watched; it runs on as it was."""


class PreflightError(AttachError):
    """Something stands in the way.

    Attributes:
        report: what was found.
    """

    def __init__(self, report: Report) -> None:
        super().__init__("; ".join(obstacle.message for obstacle in report.obstacles))
        self.report = report


class DaemonUnreachableError(AttachError):
    """No daemon answers; nothing was touched."""


class NoStepError(AttachError):
    """The probe is in, but no step was made in time."""


class PatienceError(AttachError):
    """A process did not take the probe in time, and will not any more; it runs on untouched."""


class EndedError(AttachError):
    """A process ended meanwhile, by itself."""


@dataclass(frozen=True)
class Wish:
    """What a job is to be watched as.

    Attributes:
        daemon: HOST:PORT of the daemon.
        job: the name asked for.
        policy: what the daemon may do alone.
        limits: the owner's bounds.
        budget: seconds a step that the probe may always cost.
        attempt_id: UUID of this attempt, the same for all ranks.
        patience: seconds for the process to take the probe in, and for its first step.
    """

    daemon: str
    job: str
    policy: str = "observe"
    limits: Limits = field(default_factory=Limits)
    budget: float = 100e-6
    attempt_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    patience: float = 300.0


@dataclass
class Rank:
    """One process that was entered.

    Attributes:
        pid: its number.
        stopped: seconds for which it stood still.
        losses: whether its loss functions are looked at, for validation losses.
    """

    pid: int
    stopped: float = 0.0
    losses: bool = True


@dataclass(frozen=True)
class Attached:
    """How it went.

    Attributes:
        job: the name granted.
        attempt_id: UUID of the attempt.
        ranks: the processes.
        seconds: from the first touch to the first sample.
    """

    job: str
    attempt_id: str
    ranks: tuple[Rank, ...]
    seconds: float


def watched(places: Places, pid: int) -> str:
    """The name of the job that a process is watched as by an agent of this user, whatever its daemon; or empty.

    An agent that has gone has left its papers: they say so as well, and another one is started.
    """
    recall(places)
    for path in places.runtime.glob("agent-*.sock"):
        caller = Caller(str(path))
        try:
            caller.connect()
            jobs = caller.ask(packet.QUERY, {"what": "status"}, 2.0).get("jobs") or []
        except AgentUnavailableError:
            continue  # a dead agent's socket
        finally:
            caller.close()
        for job in jobs:
            if not job.get("ended") and pid in (job.get("pids") or {}).values():
                return str(job["job"])
    return next((one.job for one in on_paper(places) if pid in one.pids), "")


@contextlib.contextmanager
def _alone(places: Places, pid: int) -> Iterator[None]:
    """Nobody else of this user enters the process meanwhile."""
    path = private(places.runtime) / f"attach-{pid}.lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AttachError(f"another steersman is attaching to process {pid} at this moment") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


class Attacher:
    """Enters processes that run.

    Args:
        wish: what they are to be watched as.
        places: where things are kept.
        say: tells the user one line.
        preflight: looks at processes first.
        way: the way into a Python of a version.
    """

    def __init__(
        self,
        wish: Wish,
        places: Places,
        say: Callable[[str], None],
        preflight: Preflight,
        way: Callable[[tuple[int, int]], Way] = way_into,
    ) -> None:
        self._wish = wish
        self._places = places
        self._say = say
        self._preflight = preflight
        self._way = way

    def attach(self, pids: Sequence[int]) -> Attached:
        """Watch these processes as the ranks of one job, and return when the first sample has come.

        Raises:
            PreflightError: something stands in the way of one of them; none was touched.
            DaemonUnreachableError: no daemon answers; none was touched.
            NoStepError: the probe is in, and no step was made.
            PatienceError: a process did not take the probe in time.
            EndedError: a process ended meanwhile.
            AttachError: a process could not be entered, or refused.
            AgentError: the agent could not be started, or has gone.
        """
        for pid in pids:
            report = self._preflight.look(pid)
            if not report.ok:
                raise PreflightError(report)
        with contextlib.ExitStack() as stack:
            for pid in pids:
                stack.enter_context(_alone(self._places, pid))
            caller = ensure_agent(self._wish.daemon, self._places)
            stack.callback(caller.close)
            self._await_daemon(caller)
            folder = self._pack()
            targets = [Target(pid) for pid in pids]
            for target in targets:
                self._compile(folder, target)
            drafts = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="attach-", dir=self._places.runtime, ignore_cleanup_errors=True)
            )
            began = time.monotonic()
            try:
                ranks = self._enter(targets, folder, Path(drafts))
            except AttachError as error:
                # Of one that is ending hardly anything can be read: whatever went wrong, that is why.
                ended = next((target.pid for target in targets if not target.alive), 0)
                if not ended or isinstance(error, EndedError):
                    raise
                raise EndedError(f"process {ended} ended before the probe was in") from None
            reply = self._await_sample(caller, targets)
            seconds = time.monotonic() - began
            name = str(reply.get("job") or self._wish.job)
            if name != self._wish.job:
                self._say(f"the name {self._wish.job!r} is in use by a job that runs: this one is {name!r}")
            return Attached(name, self._wish.attempt_id, tuple(ranks), seconds)

    def _pack(self) -> Path:
        try:
            return pack(self._places.cache)
        except OSError:
            return pack(private(self._places.runtime))  # a home that cannot be written

    def _compile(self, folder: Path, target: Target) -> None:
        version = target.python()
        if version is not None and not compile_for(folder, version[:2], target.program, target.environ):
            self._say(
                f"the probe could not be compiled for process {target.pid} beforehand; it will take somewhat longer"
            )

    def _await_daemon(self, caller: Caller) -> None:
        deadline = time.monotonic() + LINK_PATIENCE
        while True:
            status = caller.ask(packet.QUERY, {"what": "status"})
            if status.get("connected"):
                return
            if time.monotonic() > deadline:
                raise DaemonUnreachableError(f"no daemon answers at {self._wish.daemon}; nothing was touched")
            time.sleep(0.05)

    def _enter(self, targets: Sequence[Target], folder: Path, drafts: Path) -> list[Rank]:
        ranks = []
        for target in targets:
            entry = self._entry(target, folder, drafts)
            ranks.append(Rank(target.pid, self._go_in(target, entry)))
        for target, rank in zip(targets, ranks, strict=True):
            until = time.monotonic() + self._wish.patience
            while not self._await_report(rank, drafts):
                if time.monotonic() > until:
                    raise PatienceError(
                        f"process {target.pid} did not finish importing torch within {self._wish.patience:g} s; "
                        "the job runs on untouched"
                    )
                time.sleep(_IMPORTING)
                (drafts / f"{target.pid}.report").unlink()
                rank.stopped = max(rank.stopped, self._go_in(target, self._entry(target, folder, drafts)))
        return ranks

    def _go_in(self, target: Target, entry: Entry) -> float:
        version = target.python()
        if version is None:
            raise EndedError(f"process {target.pid} ended before the probe was in")
        try:
            return self._way(version[:2]).enter(target, entry)
        except EntryError as error:
            raise AttachError(f"{error}; the job runs on untouched") from None

    def _entry(self, target: Target, folder: Path, drafts: Path) -> Entry:
        wish, request = self._wish, drafts / f"{target.pid}.json"
        config = {
            "attempt_id": wish.attempt_id,
            "job": wish.job,
            "socket_path": self._places.socket(wish.daemon),
            "policy": wish.policy,
            "limits": wish.limits.as_fields(),
            "command": target.command,
            "way_in": "attach",
            "budget_floor": wish.budget,
        }
        report = str(drafts / f"{target.pid}.report")
        request.write_text(json.dumps({"folder": str(folder), "report": report, "config": config}))
        return Entry(folder / "attach.py", request, drafts / f"{target.pid}.failed")

    def _await_report(self, rank: Rank, drafts: Path) -> bool:
        """Wait until the probe is in; False where it has to be tried again, for torch is still being imported.

        The request's file goes when we go, and then nothing is installed any more.
        """
        pid, began = rank.pid, time.monotonic()
        hints = [
            (2.0, f"process {pid} has not taken it yet: its main thread is inside one long call"),
            (self._wish.patience, ""),
        ]
        said_waiting = False
        while True:
            for line in self._report(drafts, pid):
                state, words = line["state"], str(line.get("words") or "")
                if state == "installed":
                    rank.losses = bool(line.get("losses", True))
                    if not rank.losses:
                        self._say(
                            "torch.compile is in use: validation losses are not looked for, so as to recompile nothing"
                        )
                    return True
                if state == "already":
                    known = Obstacle(
                        "watched", f"process {pid} is already watched as {words}", f"steersman show {words}"
                    )
                    raise PreflightError(Report(pid, Target(pid).command, (known,)))
                if state == "again":
                    return False
                if state != "waiting":
                    raise AttachError(f"process {pid} did not take the probe: {words}; the job runs on untouched")
                said_waiting = True
            if (drafts / f"{pid}.failed").exists():
                raise AttachError(f"process {pid} can start no thread (is there a limit?); the job runs on untouched")
            if not Target(pid).alive:
                raise EndedError(f"process {pid} ended before the probe was in")
            if time.monotonic() - began > hints[0][0]:
                _, hint = hints.pop(0)
                if not hints:
                    raise PatienceError(
                        f"process {pid} did not take the probe within {self._wish.patience:g} s, and will not "
                        "any more: its main thread waits in a call that does not return, or its step does not end"
                    )
                self._say("the probe goes in at the end of the step that is being made" if said_waiting else hint)
            time.sleep(_POLL)

    def _report(self, drafts: Path, pid: int) -> list[dict[str, Any]]:
        try:
            lines = (drafts / f"{pid}.report").read_text().splitlines()
            return [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return []

    def _await_sample(self, caller: Caller, targets: Sequence[Target]) -> dict[str, Any]:
        began, said, known = time.monotonic(), False, False
        while True:
            reply = caller.ask(packet.QUERY, {"what": "job", "attempt_id": self._wish.attempt_id})
            # What the agent does not know is settled: before the first step that means nothing yet.
            known = known or not reply.get("settled")
            if known and (int(reply.get("samples_seen") or 0) > 0 or reply.get("settled")):
                return self._await_name(caller, reply)
            if not any(target.alive for target in targets):
                raise EndedError("the job ended before it made another step")
            waited = time.monotonic() - began
            if waited > 2.0 and not said:
                said = True
                self._say("the probe is in; waiting for the next optimizer step")
            if waited > self._wish.patience:
                raise NoStepError(
                    f"the probe is in, but no optimizer step was made within {self._wish.patience:g} s; "
                    "it goes on watching"
                )
            time.sleep(_POLL)

    def _await_name(self, caller: Caller, reply: dict[str, Any]) -> dict[str, Any]:
        """The daemon grants the name when it has the first rows on disk, at the latest."""
        deadline = time.monotonic() + LINK_PATIENCE
        while not reply.get("granted") and not reply.get("settled") and time.monotonic() < deadline:
            if reply.get("refused"):
                raise AttachError(f"the daemon did not take this job: {reply['refused']}")
            time.sleep(_POLL)
            reply = caller.ask(packet.QUERY, {"what": "job", "attempt_id": self._wish.attempt_id})
        return reply


@dataclass(frozen=True)
class Detached:
    """One job that was left.

    Attributes:
        job: its name.
        attempt_id: UUID of the attempt.
        left: whether the probe is out of all its processes.
    """

    job: str
    attempt_id: str
    left: bool


def detach(daemon: str, places: Places, name: str, patience: float) -> list[Detached]:
    """Have the probes of a job leave it, and wait until they have.

    Args:
        daemon: HOST:PORT of the daemon.
        places: where things are kept.
        name: the job's name, or the number of one of its processes.
        patience: seconds for the next step, at whose end it leaves.

    Returns:
        The attempts that were left; none where no such job is watched on this host.

    Raises:
        AgentUnavailableError: no agent runs on this host for that daemon, or one that is needed cannot be started.
    """
    if any(one.daemon == daemon for one in on_paper(places)):
        caller = ensure_agent(daemon, places)
    else:
        caller = Caller(places.socket(daemon))
        caller.connect()
    try:
        found = caller.ask(packet.QUERY, {"what": "detach", "name": name}).get("found") or []
        if not found and name.isdigit():
            found = caller.ask(packet.QUERY, {"what": "detach", "pid": int(name)}).get("found") or []
        deadline = time.monotonic() + patience
        done = []
        for one in found:
            left = _gone(caller, one["attempt_id"])
            while not left and time.monotonic() < deadline:
                time.sleep(_POLL)
                left = _gone(caller, one["attempt_id"])
            done.append(Detached(str(one["job"]), str(one["attempt_id"]), left))
        return done
    finally:
        caller.close()


def _gone(caller: Caller, attempt_id: str) -> bool:
    reply = caller.ask(packet.QUERY, {"what": "job", "attempt_id": attempt_id})
    return bool(reply.get("settled") or reply.get("ended") or reply.get("left", 0) >= max(reply.get("ranks", 0), 1))
