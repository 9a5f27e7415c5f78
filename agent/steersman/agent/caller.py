"""The other side of the agent's socket: for `steersman run` and `steersman agent`."""

from __future__ import annotations

import select
import socket
import time
from typing import Any

from steersman.agent.errors import AgentUnavailableError
from steersman.agent.probe import packet


class Caller:
    """A connection to the agent that asks and waits for answers; not for training processes.

    Args:
        path: the agent's socket.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket: socket.socket | None = None
        self._welcomes: list[dict[str, Any]] = []

    @property
    def connected(self) -> bool:
        """Whether the agent was there when we last looked."""
        return self._socket is not None

    def connect(self) -> None:
        """Open the connection.

        Raises:
            AgentUnavailableError: nobody listens.
        """
        self.close()
        made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            made.settimeout(2.0)
            made.connect(self.path)
        except OSError as error:
            made.close()
            raise AgentUnavailableError(f"no agent answers at {self.path}: {error.strerror or error}") from None
        self._socket = made

    def send(self, kind: int, message: dict[str, Any]) -> None:
        """Send one packet.

        Raises:
            AgentUnavailableError: the connection is gone.
        """
        if self._socket is None:
            raise AgentUnavailableError(f"not connected to the agent at {self.path}")
        try:
            self._socket.send(packet.pack_json(kind, message), socket.MSG_NOSIGNAL)
        except OSError as error:
            self.close()
            raise AgentUnavailableError(f"the agent at {self.path} has gone: {error.strerror or error}") from None

    def ask(self, kind: int, message: dict[str, Any], seconds: float = 5.0) -> dict[str, Any]:
        """Send one packet and wait for the REPLY.

        Raises:
            AgentUnavailableError: the connection is gone, or no answer came in time, or the agent refused.
        """
        self.send(kind, message)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            found = self._receive(left)
            if found is None:
                continue
            answer, body = found
            if answer == packet.REPLY:
                return body
            self._other(answer, body)
        raise AgentUnavailableError(f"the agent at {self.path} did not answer within {seconds:g} s")

    def welcomes(self) -> list[dict[str, Any]]:
        """What the agent has said of our job since this was asked last; notices when the agent has gone."""
        while self._socket is not None:
            try:
                found = self._receive(0)
            except AgentUnavailableError:
                break
            if found is None:
                break
            if found[0] == packet.WELCOME:
                self._welcomes.append(found[1])
        said, self._welcomes = self._welcomes, []
        return said

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _other(self, kind: int, body: dict[str, Any]) -> None:
        if kind == packet.WELCOME:
            self._welcomes.append(body)
        elif kind == packet.REFUSED:
            raise AgentUnavailableError(str(body.get("message") or "the agent refused"))

    def _receive(self, seconds: float) -> tuple[int, dict[str, Any]] | None:
        if self._socket is None:
            raise AgentUnavailableError(f"the agent at {self.path} has gone")
        if not select.select([self._socket], [], [], seconds)[0]:
            return None
        try:
            data = self._socket.recv(packet.MAX_PACKET)
        except OSError:
            data = b""
        if not data:
            self.close()
            raise AgentUnavailableError(f"the agent at {self.path} has gone")
        try:
            return packet.kind_of(data), packet.unpack_json(data)
        except packet.PacketError as error:
            raise AgentUnavailableError(f"the agent at {self.path} is of another version: {error}") from None
