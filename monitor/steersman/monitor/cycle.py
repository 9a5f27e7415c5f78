"""The one place where jobs change: inputs are taken in order, and what follows from them is committed as one unit.

The event loop queues; the writer's thread works; nobody hears of anything before it is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import structlog

from steersman.monitor.adjustment import Command
from steersman.monitor.board import Board
from steersman.monitor.ending import End, JobState
from steersman.monitor.errors import DrainingError, MonitorError, StoreError
from steersman.monitor.job import Job
from steersman.monitor.jobs import Jobs
from steersman.monitor.meters import Meters
from steersman.monitor.settings import IngestSettings
from steersman.monitor.store.contract import Store, Unit
from steersman.monitor.view import JobView, view

T = TypeVar("T")


class Listeners(Protocol):
    """Those who are told after a commit: the streams of the agents."""

    def durable(self, attempt_id: str, high_water: Mapping[int, int]) -> None:
        """Rows of an attempt are on disk up to these sequence numbers, by rank."""
        ...

    def command(self, command: Command) -> None:
        """A command may go out: the decision behind it is on disk."""
        ...

    def connected(self, attempt_id: str) -> bool:
        """Whether an agent that has this attempt is connected."""
        ...


@dataclass
class _Input:
    apply: Callable[[Jobs, float], Any]
    done: asyncio.Future[Any]
    size: int
    sampled_at: float


@dataclass
class _Turn:
    unit: Unit
    answers: list[tuple[_Input, Any, Exception | None]]
    views: list[JobView]
    gone: list[str]
    high_water: dict[str, dict[int, int]]
    commands: list[Command]
    problems: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


class Cycle:
    """Group commit.

    Args:
        jobs: touched by this class's thread alone.
        store: written by this class's thread alone.
        board: where views are published after each commit.
        listeners: told after each commit.
        meters: what is counted.
        settings: how often, and how much may wait.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        jobs: Jobs,
        store: Store,
        board: Board,
        listeners: Listeners,
        meters: Meters,
        settings: IngestSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._board = board
        self._listeners = listeners
        self._meters = meters
        self._settings = settings
        self._clock = clock
        self._inputs: list[_Input] = []
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._stopping = False
        self._aborted = asyncio.Event()
        self._hurry = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="steersman-writer")
        self._log = structlog.get_logger("steersman.cycle")
        self._seen: dict[str, JobState] = {}

    def submit(self, apply: Callable[[Jobs, float], T], *, size: int = 0, sampled_at: float = 0.0) -> asyncio.Future[T]:
        """Queue a change; the future has its result once it is committed.

        Raises:
            DrainingError: the daemon is going down.
        """
        if self._stopping:
            raise DrainingError("the daemon is going down; try again when it is back")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        # Whoever does not wait for the result must not be told at exit that nobody looked at its error.
        done.add_done_callback(lambda f: f.cancelled() or f.exception())
        self._inputs.append(_Input(apply, done, size, sampled_at))
        self._waiting_bytes += size
        if self._waiting_bytes > self._settings.max_waiting_bytes:
            self._room.clear()
        self._wake.set()
        return done

    @property
    def waiting(self) -> int:
        """How many changes are queued."""
        return len(self._inputs)

    async def room(self) -> None:
        """Return once there is room for more: a stream that waits here is not read, and so holds its agent back."""
        await self._room.wait()

    async def read(self, call: Callable[[Jobs], T]) -> T:
        """Run something that reads jobs or store between two turns, without a commit."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, self._jobs)

    async def run(self) -> None:
        """Turn after turn until `drain` or `abort`."""
        while not self._aborted.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.tick_s):
                    await self._wake.wait()
            if self._stopping and not self._inputs:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.commit_interval_s):
                    await self._hurry.wait()
            inputs, self._inputs = self._inputs, []
            self._wake.clear()
            await self._one(inputs)

    def drain(self) -> None:
        """Take nothing new; `run` returns when what is queued is committed."""
        self._stopping = True
        self._wake.set()
        self._hurry.set()

    def abort(self) -> None:
        """Stop without another commit, as a kill would."""
        self._stopping = True
        self._aborted.set()
        self._hurry.set()
        self._wake.set()
        self._room.set()

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _one(self, inputs: list[_Input]) -> None:
        loop = asyncio.get_running_loop()
        clock = self._clock()
        turn = await loop.run_in_executor(self._thread, self._turn, inputs, clock)
        for event, fields in turn.problems:
            self._log.error(event, **fields)
        if _worth_writing(turn.unit) and not await self._write(turn.unit):
            for given, _, _ in turn.answers:
                given.done.cancel()
            return
        committed = self._clock()
        for given, answer, error in turn.answers:
            if given.sampled_at:
                self._meters.lag.observe(max(0.0, committed - given.sampled_at))
            if given.done.cancelled():
                continue
            if error is not None:
                given.done.set_exception(error)
            else:
                given.done.set_result(answer)
        for attempt_id, high_water in turn.high_water.items():
            self._listeners.durable(attempt_id, high_water)
        for command in turn.commands:
            self._log.info("command_sent", adjustment=command.adjustment_id, attempt=command.attempt_id, by=command.by)
            self._listeners.command(command)
        self._say_states(turn.views)
        self._board.publish(turn.views, turn.gone)
        self._waiting_bytes -= sum(i.size for i in inputs)
        if self._waiting_bytes <= self._settings.max_waiting_bytes:
            self._room.set()

    async def _write(self, unit: Unit) -> bool:
        """Write until it is written. A unit is kept whole, and nothing follows it, for as long as it takes."""
        delay = 0.25
        while not self._aborted.is_set():
            began = time.perf_counter()
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._store.write, unit)
            except StoreError as error:
                self._meters.store_failures.inc()
                self._log.error("store_write_failed", error=str(error), retry_s=delay)
            else:
                self._meters.commit.observe(time.perf_counter() - began)
                return True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._aborted.wait()
            # A commit that was reported as failed may be on disk all the same: written again it is refused for ever.
            if await self.read(lambda jobs: _landed(jobs.store, unit)):
                self._log.info("store_write_had_landed", jobs=len(unit.jobs), rows=len(unit.rows))
                return True
            delay = min(2 * delay, 5.0)
        return False

    def _turn(self, inputs: list[_Input], clock: float) -> _Turn:
        answers: list[tuple[_Input, Any, Exception | None]] = []
        problems: list[tuple[str, dict[str, Any]]] = []
        for given in inputs:
            began = time.perf_counter()
            try:
                answers.append((given, given.apply(self._jobs, clock), None))
            except MonitorError as error:
                answers.append((given, None, error))
            except Exception as error:  # noqa: BLE001  one input that breaks must not stop all jobs
                answers.append((given, None, error))
                problems.append(("input_failed", {"error": f"{type(error).__name__}: {error}"}))
            if given.size:
                self._meters.engine.observe(time.perf_counter() - began)
        touched: list[Job] = []
        for job in self._jobs.all():
            self._tick(job, clock)
            if job.touched:
                job.close_books()
                touched.append(job)
        commands = [command for job in touched for command in job.control.take_commands()]
        unit = _unit(touched)
        views = [view(j, clock, connected=self._listeners.connected(j.facts.attempt_id)) for j in self._jobs.all()]
        marks = {job.facts.attempt_id: dict(job.high_water) for job in touched}
        gone = self._forget(clock, touched)
        problems += [("rules_broke", {"job": j.name, "error": j.broken}) for j in touched if j.take_breakage()]
        problems += [
            ("rule_stopped", {"job": j.name, "rule": slow.rule, "step": slow.step, "reason": slow.reason})
            for j in touched
            for slow in j.take_stopped()
        ]
        return _Turn(unit, answers, views, gone, marks, commands, problems)

    def _tick(self, job: Job, clock: float) -> None:
        job.release(clock)
        job.tick(clock)
        if job.end is not None:
            return
        heard = max(job.pace.heard_at, job.opened_at)
        gone = not self._listeners.connected(job.facts.attempt_id)
        if gone and clock - heard > self._settings.lost_after_s:
            message = f"no agent has been heard of for {self._settings.lost_after_s / 60:.0f} minutes"
            job.finish(End(JobState.LOST, clock, message=message))

    def _forget(self, clock: float, touched: list[Job]) -> list[str]:
        old = [
            job.facts.attempt_id
            for job in self._jobs.all()
            if job.end is not None
            and job not in touched
            and clock - max(job.end.time, job.ended_here) > self._settings.keep_ended_s
        ]
        for attempt_id in old:
            self._jobs.forget(attempt_id)
        return old

    def _say_states(self, views: list[JobView]) -> None:
        for seen in views:
            attempt_id = seen.facts.attempt_id
            before = self._seen.get(attempt_id)
            if before is not seen.state:
                self._seen[attempt_id] = seen.state
                self._log.info("job_state", job=seen.name, attempt=seen.attempt, state=seen.state.value, step=seen.step)


def _unit(touched: list[Job]) -> Unit:
    rows, events, ledger = [], [], []
    snapshots: dict[str, bytes] = {}
    findings: dict[str, str] = {}
    adjustments: dict[str, tuple[str, str]] = {}
    for job in touched:
        rows += job.rows_out
        events += job.events_out
        ledger += job.ledger_out
        adjustments |= job.changed_adjustments()
        if job.snapshot is not None:
            snapshots[job.facts.attempt_id] = job.snapshot
        findings[job.facts.attempt_id] = job.findings_text()
        job.rows_out, job.events_out, job.ledger_out, job.touched = [], [], [], False
    return Unit([job.record() for job in touched], rows, snapshots, findings, adjustments, events, ledger)


def _worth_writing(unit: Unit) -> bool:
    return bool(unit.jobs)


def _landed(store: Store, unit: Unit) -> bool:
    """Whether a unit whose write was reported as failed is on disk; any one witness is enough, for it is one unit.

    A unit with neither rows nor ledger entries has no witness and needs none: written again it says the same.
    """
    try:
        if unit.rows:
            last = unit.rows[-1]
            restored = store.restore(last.attempt_id)
            end = last.first_seq + len(last.samples) - 1
            return restored is not None and restored.high_water.get(last.rank, 0) >= end
        if unit.ledger:
            last_entry = unit.ledger[-1]
            return any(kept.hash == last_entry.hash for kept in store.ledger(last_entry.job, last_entry.attempt_id))
    except StoreError:
        return False
    return False
