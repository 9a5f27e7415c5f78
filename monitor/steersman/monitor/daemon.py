"""The daemon's life, in the order it happens: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

import grpc.aio
import structlog
from grpc_health.v1._async import HealthServicer
from prometheus_client import CollectorRegistry

from steersman.monitor import metrics, server
from steersman.monitor.board import Board
from steersman.monitor.cycle import Cycle
from steersman.monitor.engine import EngineMaker
from steersman.monitor.exposition import Exposition
from steersman.monitor.ingest import Intake
from steersman.monitor.inquiries import Inquiries
from steersman.monitor.jobs import Jobs
from steersman.monitor.meters import Meters
from steersman.monitor.metrics import MetricsServer
from steersman.monitor.service import About, OperatorService
from steersman.monitor.settings import Settings
from steersman.monitor.store.contract import Store
from steersman.monitor.streams import Streams
from steersman.monitor.telemetry import TelemetryService
from steersman.v1 import telemetry_pb2 as pb


class Daemon:
    """Watches jobs until it is told to stop.

    Args:
        settings: see `Settings`.
        maker: the rules in force.
        open_store: opens the store; called once, in `start`.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        settings: Settings,
        maker: EngineMaker,
        open_store: Callable[[str], Store],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.listen = settings.listen
        self.metrics_address = settings.metrics
        self._maker = maker
        self._open_store = open_store
        self._clock = clock
        self._log = structlog.get_logger("steersman.daemon")
        self._undo = contextlib.AsyncExitStack()
        self._serving = False
        self._stopped = False

    @property
    def rules(self) -> int:
        """How many rules are in force."""
        return self._maker.rules

    async def start(self) -> None:
        """Open the store, bring back the jobs, listen.

        Raises:
            MonitorError: what stands in the way; nothing is left open then.
        """
        settings = self.settings
        warning = server.check_address(settings.listen, insecure=settings.insecure_listen)
        if warning:
            self._log.warning("insecure_listen", warning=warning)
        # before the store is opened: a daemon that is refused leaves no file
        server.check_port(settings.listen)
        if settings.metrics is not None:
            metrics.check_port(settings.metrics)
        async with contextlib.AsyncExitStack() as undo:
            store = await asyncio.to_thread(self._open_store, settings.store)
            undo.callback(store.close)
            self.board, self.streams = Board(), Streams()
            self.meters = Meters(CollectorRegistry())
            self.meters.rules.set(self._maker.rules)
            jobs = Jobs(store, self._maker, settings.policy, settings.ingest.max_jobs)
            self.cycle = Cycle(jobs, store, self.board, self.streams, self.meters, settings.ingest, self._clock)
            undo.callback(self.cycle.close)
            known = await self.cycle.read(lambda jobs: jobs.restore(self._clock()))
            if settings.metrics is not None:
                exposition = Exposition(self.meters)
                self._metrics = MetricsServer(
                    settings.metrics, lambda: exposition.page(self.board.all()), lambda: self._serving
                )
                self.metrics_address = self._metrics.start()
                undo.push_async_callback(asyncio.to_thread, self._metrics.stop)
            await self._listen(store, jobs)
            self._cycling = asyncio.create_task(self.cycle.run())
            self._cycling.add_done_callback(self._ended)
            self._undo = undo.pop_all()
        self._serving = True
        self._log.info("daemon_started", listen=str(self.listen), jobs=known, rules=self._maker.rules)

    async def serve(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, or the heart of the daemon breaks."""
        asked = asyncio.create_task(stop.wait())
        await asyncio.wait([asked, self._cycling], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()

    async def drain(self) -> None:
        """Take nothing new, commit what was taken, tell the agents, within the deadline."""
        self._serving = False
        deadline = asyncio.get_running_loop().time() + self.settings.drain_s
        await self._health.enter_graceful_shutdown()
        self._operators.close()
        self.cycle.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await asyncio.wait([self._cycling])
        self.cycle.abort()
        words = "the daemon is going down; the agent keeps what is not acknowledged and connects again"
        self.streams.say(pb.Refusal(code=pb.Refusal.CODE_DRAINING, message=words))
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        await self._server.stop(min(left, 2.0))

    async def stop(self) -> None:
        """Let everything go; without `drain` before it, what was not acknowledged as durable is lost here."""
        if self._stopped:
            return
        self._serving, self._stopped = False, True
        self.cycle.abort()
        self._operators.close()
        await self._server.stop(None)
        await asyncio.wait([self._cycling])
        await self._undo.aclose()
        self._log.info("daemon_stopped")

    async def _listen(self, store: Store, jobs: Jobs) -> None:
        daemon_id = uuid.uuid4().hex
        bounds = self.settings.ingest
        inquiries = Inquiries(self.streams.inquire)
        telemetry = TelemetryService(
            self.cycle, Intake(bounds, self.meters), self.streams, inquiries, self.meters, bounds, daemon_id
        )
        about = About(
            daemon_id,
            self._clock(),
            without_credentials(self.settings.store),
            str(self.metrics_address) if self.metrics_address else "",
            self._maker.rules,
            tuple(self._maker.files),
        )
        self._operators = OperatorService(self.cycle, self.board, store, jobs, inquiries, about, self._clock)
        self._server: grpc.aio.Server
        self._health: HealthServicer
        self._server, self._health, self.listen = await server.start(
            telemetry, self._operators, self.settings.listen, bounds
        )

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._serving = False
            self._log.error("cycle_broke", exc_info=task.exception())


def without_credentials(url: str) -> str:
    """A store's URL as it may be shown.

    >>> without_credentials("postgresql://me:secret@db/steersman")
    'postgresql://db/steersman'
    """
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


async def run(daemon: Daemon, stop: asyncio.Event, ready: Callable[[Daemon], None]) -> None:
    """The whole life.

    Raises:
        MonitorError: it could not start.
    """
    await daemon.start()
    try:
        ready(daemon)
        await daemon.serve(stop)
        await daemon.drain()
    finally:
        await daemon.stop()
