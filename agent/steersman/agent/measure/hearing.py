"""The agent's ears, which only count what they hear."""

from __future__ import annotations

import time
from dataclasses import dataclass

from steersman.agent.local import Client, Listener
from steersman.agent.probe import packet


@dataclass
class Heard:
    """What arrived from the probes of one name.

    Attributes:
        rows: optimizer steps.
        norms: rows with a gradient norm.
        directions: rows with a direction.
        faults: times that a probe said that it failed or switched itself off.
        applied: adjustments that a probe said are laid on.
    """

    rows: int = 0
    norms: int = 0
    directions: int = 0
    faults: int = 0
    applied: int = 0


class Hearing:
    """Takes what probes send with the agent's own listener, and counts it by the job's name.

    Args:
        path: of the socket.
        factor: where given, each probe is told to lay this factor over its learning rate.
    """

    def __init__(self, path: str, factor: float | None = None) -> None:
        self.heard: dict[str, Heard] = {}
        self._factor = factor
        self._jobs: dict[Client, Heard] = {}
        self._columns: dict[tuple[Client, int], tuple[int, int]] = {}
        self._listener = Listener(path, self._received, lambda client: None)

    def open(self) -> None:
        """Begin to listen."""
        self._listener.open()

    def tick(self) -> bool:
        """Take what is there; whether anything was."""
        return self._listener.tick()

    def close(self) -> None:
        """Take what is left, and hang up."""
        while self.tick():
            pass
        self._listener.close()

    def _received(self, client: Client, data: bytes) -> None:
        kind = packet.kind_of(data)
        if kind == packet.ROW:
            row = packet.unpack_row(data)
            heard = self._jobs[client]
            norm, direction = self._columns[client, row.schema]
            heard.rows += 1
            heard.norms += row.present >> norm & 1
            heard.directions += row.present >> direction & 1
            return
        body = packet.unpack_json(data)
        if kind == packet.HELLO:
            self._jobs[client] = self.heard.setdefault(body["job"], Heard())
            client.send(packet.WELCOME, attempt_id=body["attempt_id"], job=body["job"], shared=True)
            if self._factor is not None:
                client.send(
                    packet.COMMAND,
                    adjustment_id="measured",
                    overlay={"factor": self._factor},
                    over_steps=0,
                    expires_at=time.time() + 600,
                    counter=1,
                )
        elif kind == packet.SCHEMA:
            names = [name for name, _ in body["columns"]]
            # A column that is not there is one that no row has.
            self._columns[client, body["id"]] = (_place(names, "grad_norm"), _place(names, "hypergrad_cos"))
        elif kind == packet.EVENT and client in self._jobs:
            self._jobs[client].faults += body["kind"] in ("probe_failed", "probe_off")
        elif kind == packet.ACK and client in self._jobs:
            self._jobs[client].applied += body["state"] == "applied"


def _place(names: list[str], name: str) -> int:
    return names.index(name) if name in names else packet.MAX_COLUMNS
