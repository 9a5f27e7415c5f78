"""Everything that can be set about the daemon: one frozen tree, built by the command line and passed down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from steersman.monitor.control import Policy


@dataclass(frozen=True)
class IngestSettings:
    """How rows are taken in."""

    commit_interval_s: float = 0.075
    """How long rows are gathered before they are committed together."""
    tick_s: float = 1.0
    """How often silence and expiry are looked at when nothing comes in."""
    max_waiting_bytes: int = 32 * 1024 * 1024
    """Rows in memory that wait for the store; beyond it streams are not read."""
    max_jobs: int = 1000
    """Attempts that have not ended."""
    max_ranks: int = 4096
    """Ranks of one attempt."""
    max_columns: int = 64
    """Series in one batch."""
    max_series: int = 256
    """Different series names of one attempt."""
    max_rows: int = 4096
    """Rows in one batch."""
    max_message_bytes: int = 1024 * 1024
    """Size of one message from an agent or operator."""
    batch_interval_ms: int = 1000
    """How often agents are asked to send."""
    keep_ended_s: float = 600.0
    """How long a job that has ended stays in memory and in /metrics."""
    lost_after_s: float = 3600.0
    """How long after the last word of a job whose agent is gone it is called lost."""


@dataclass(frozen=True)
class Address:
    """Where a server listens; port 0 picks a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read HOST:PORT.

        >>> Address.parse("[::1]:7461")
        Address(host='::1', port=7461)

        Raises:
            ValueError: it is not HOST:PORT.
        """
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:7461")
        return cls(host, int(port))


def default_store() -> str:
    """SQLite in the user's state folder."""
    return f"sqlite:///{Path(platformdirs.user_state_dir('steersman')) / 'steersman.db'}"


@dataclass(frozen=True)
class Settings:
    """The daemon's settings."""

    listen: Address = Address("127.0.0.1", 7461)
    """Where agents and operators reach it."""
    metrics: Address | None = Address("127.0.0.1", 9461)
    """Where Prometheus reaches it; None for nowhere."""
    store: str = field(default_factory=default_store)
    """URL of the store."""
    rules: tuple[Path, ...] = ()
    """Rule files or folders beside the shipped pack."""
    policy: Policy = Policy.OBSERVE
    """What holds for a job whose owner asked for no policy."""
    insecure_listen: bool = False
    """Whether an address that is not loopback is allowed although there is neither TLS nor token yet."""
    drain_s: float = 10.0
    """How long it may take to go down."""
    ingest: IngestSettings = field(default_factory=IngestSettings)
    """How rows are taken in."""
