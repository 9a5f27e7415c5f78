"""Starting the agent on demand."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from steersman.agent.caller import Caller
from steersman.agent.errors import AgentUnavailableError
from steersman.agent.paths import Places, private
from steersman.agent.probe import packet

PATIENCE = 5.0
"""Seconds that a new agent has to answer."""


def ensure_agent(daemon: str, places: Places) -> Caller:
    """A connection to the agent for a daemon address, started where there is none; it has answered.

    Raises:
        AgentUnavailableError: it could not be started or does not answer.
        FolderError: its runtime folder is not ours.
    """
    private(places.runtime)
    caller = Caller(places.socket(daemon))
    deadline = time.monotonic() + PATIENCE
    problem = _answers(caller)
    if not problem:
        return caller
    _spawn(daemon, places)
    while time.monotonic() < deadline:
        problem = _answers(caller)
        if not problem:
            return caller
        time.sleep(0.02)
    raise AgentUnavailableError(f"the agent did not start within {PATIENCE:g} s ({problem}); see {places.log(daemon)}")


def _answers(caller: Caller) -> str:
    """What stands in the way of talking to the agent; empty where it answers."""
    try:
        caller.connect()
        caller.ask(packet.QUERY, {"what": "status"}, 2.0)
    except AgentUnavailableError as error:
        caller.close()
        return str(error)
    return ""


def _spawn(daemon: str, places: Places) -> None:
    output = places.logs / f"{places.key(daemon)}.out"
    try:
        with _sink(output) as sink:
            subprocess.run(
                [
                    *(sys.executable, "-m", "steersman.agent.sidecar", "--detach"),
                    *("--daemon", daemon, "--socket", places.socket(daemon)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd="/",
                env=agent_environment(),
                start_new_session=True,
                timeout=PATIENCE,
                check=True,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise AgentUnavailableError(f"the agent could not be started ({error}); see {output}") from None


def _sink(output: Path) -> IO[bytes]:
    """Where a crash before logging begins leaves its words; the agent itself writes none of them.

    With a full disk nowhere: the agent does without, and holds rows in memory.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.exists() and output.stat().st_size > 256 * 1024:
            output.unlink()
        return output.open("ab")
    except OSError:
        return open(os.devnull, "ab")


def agent_environment() -> dict[str, str]:
    """Ours, without what is meant for the job."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("STEERSMAN_")}
    # The agent's working folder is /, so that it keeps no file system busy: relative entries would mean others there.
    entries = [str(Path(entry).absolute()) for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    environ["PYTHONPATH"] = os.pathsep.join(e for e in entries if not (Path(e) / "_steersman").is_dir())
    return environ
