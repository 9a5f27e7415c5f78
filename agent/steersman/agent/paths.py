"""Where the agent and those who start it keep their things."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from steersman.agent.errors import FolderError

DEFAULT_DAEMON = "127.0.0.1:7461"
"""Where a daemon listens unless told otherwise."""


@dataclass(frozen=True)
class Places:
    """The folders of one user; nothing is created by knowing them.

    Attributes:
        runtime: sockets and locks; only its owner may enter.
        state: spools.
        cache: what `steersman run` carries into jobs.
        logs: the agents' logs.
    """

    runtime: Path
    state: Path
    cache: Path
    logs: Path

    def socket(self, daemon: str) -> str:
        """Where the agent for a daemon address listens."""
        from steersman.agent.probe.packet import socket_name

        return socket_name(str(self.runtime), daemon)

    def key(self, daemon: str) -> str:
        """A daemon address as part of a file name."""
        return Path(self.socket(daemon)).stem

    def lock(self, daemon: str) -> Path:
        """Held by the one agent for a daemon address."""
        return self.runtime / f"{self.key(daemon)}.lock"

    def spools(self, daemon: str) -> Path:
        """The spools of all attempts for a daemon address, one folder an attempt."""
        return self.state / "spool" / self.key(daemon)

    def log(self, daemon: str) -> Path:
        """The agent's log, JSON lines."""
        return self.logs / f"{self.key(daemon)}.log"


def places(environ: Mapping[str, str] | None = None) -> Places:
    """The folders of this user, from the environment and the platform's habits."""
    import platformdirs

    environ = os.environ if environ is None else environ
    given = environ.get("XDG_RUNTIME_DIR")
    runtime = Path(given) / "steersman" if given and Path(given).is_dir() else Path(f"/tmp/steersman-{os.getuid()}")
    return Places(
        runtime=runtime,
        state=platformdirs.user_state_path("steersman"),
        cache=platformdirs.user_cache_path("steersman"),
        logs=platformdirs.user_log_path("steersman"),
    )


def private(folder: Path) -> Path:
    """Create a folder that only its owner may enter, and return it.

    Raises:
        FolderError: it belongs to another user, is a link, or cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise FolderError(f"{folder} is not a folder; remove it, or set XDG_RUNTIME_DIR to another place")
        if found.st_uid != os.getuid():
            raise FolderError(
                f"{folder} belongs to user {found.st_uid}, not to you; set XDG_RUNTIME_DIR to another place"
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise FolderError(f"{folder} cannot be used: {error.strerror}") from None
    return folder
