"""A real daemon on free ports, with SQLite in the test's own folder."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.monitor.agent_in_test import AgentInTest
from tests.monitor.scripted_rules import ScriptedRules

from steersman.monitor import log
from steersman.monitor.daemon import Daemon
from steersman.monitor.settings import Address, IngestSettings, Settings
from steersman.monitor.store import open_store

LOOPBACK = Address("127.0.0.1", 0)


@pytest.fixture(autouse=True)
def _logging() -> None:
    log.configure("json")


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Daemon]]]:
    """Start a daemon; whatever the test leaves running is stopped after it."""
    started: list[Daemon] = []

    async def begin(
        rules: Any = None, store: str = "daemon.db", ingest: IngestSettings | None = None, **settings: Any
    ) -> Daemon:
        bounds = ingest or IngestSettings(commit_interval_s=0.01, tick_s=0.05)
        url = store if "://" in store else f"sqlite:///{tmp_path / store}"
        told = {"listen": LOOPBACK, "metrics": None, "drain_s": 5.0, **settings}
        opener, clock = told.pop("open_store", open_store), told.pop("clock", time.time)
        daemon = Daemon(Settings(store=url, ingest=bounds, **told), rules or ScriptedRules(), opener, clock)
        await daemon.start()
        started.append(daemon)
        return daemon

    yield begin
    for daemon in started:
        await daemon.stop()  # a second stop does nothing


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[Daemon], AgentInTest]]:
    """Connect an agent; closed after the test."""
    agents: list[AgentInTest] = []

    def begin(daemon: Daemon) -> AgentInTest:
        agents.append(AgentInTest(str(daemon.listen)))
        return agents[-1]

    yield begin
    for agent in agents:
        await agent.close()
