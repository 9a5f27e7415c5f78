"""Jobs that are watched as their papers on disk say, whether or not the agent that wrote these still runs."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from steersman.agent import processes
from steersman.agent.errors import AgentError
from steersman.agent.paths import Places
from steersman.agent.start import ensure_agent

_PAPERS = "attempt.json"


@dataclass(frozen=True)
class Watched:
    """One attempt with a probe in processes that run.

    Attributes:
        job: its name.
        attempt_id: its UUID.
        daemon: HOST:PORT of its daemon.
        pids: the processes.
    """

    job: str
    attempt_id: str
    daemon: str
    pids: tuple[int, ...]

    def goes_by(self, name: str) -> bool:
        """Whether a name, an attempt's UUID or the number of a process means this one."""
        return name in (self.job, self.attempt_id) or (name.isdigit() and int(name) in self.pids)


def on_paper(places: Places) -> Iterator[Watched]:
    """The jobs of this host and user that the papers of all agents say are watched."""
    for path in sorted(places.state.glob(f"spool/*/*/{_PAPERS}")):
        # A file of a spool may be half written, or another version's: then it tells of no job.
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, KeyError):
            papers = json.loads(path.read_text())
            ranks = [mark for rank, mark in papers["processes"].items() if rank not in papers["left"]]
            pids = tuple(int(mark.partition(":")[0]) for mark in ranks if processes.alive(mark))
            here = papers["hello"]["host"] == socket.gethostname()  # the folder may lie on a disk that hosts share
            if here and papers["daemon"] and pids and not papers["end"]:
                name = papers["granted"] or papers["hello"]["job"]
                yield Watched(str(name), path.parent.name, str(papers["daemon"]), pids)


def recall(places: Places) -> None:
    """Start an agent for each daemon of which jobs are watched, where none runs; for as well as it goes.

    An agent and its guardian may both have been killed, and a probe starts no processes.
    """
    for daemon in {one.daemon for one in on_paper(places)}:
        with contextlib.suppress(AgentError):
            ensure_agent(daemon, places).close()
