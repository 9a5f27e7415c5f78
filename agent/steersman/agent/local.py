"""The agent's side of the AF_UNIX socket: probes, launchers and commands of this user."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable

from steersman.agent import processes
from steersman.agent.events import fields
from steersman.agent.probe import packet
from steersman.agent.probe.shared import Inbox, SharedError

MAX_CLIENTS = 512
PACKETS_A_TICK = 2048
"""Packets taken from one client before the others have their turn."""

MAX_QUEUE = 64
_log = logging.getLogger("steersman.agent")


class Client:
    """One connection.

    Args:
        connection: its socket, non-blocking.
        process: mark of the process at the other end.
    """

    def __init__(self, connection: socket.socket, process: str) -> None:
        self.connection = connection
        self.process = process
        self.attempt_id = ""
        self.rank = -1
        self.launcher = False
        self.said_goodbye = False
        self.bad_packets = 0
        self.shared: Inbox | None = None
        self._queue: deque[bytes] = deque()

    def send(self, kind: int, **message: object) -> None:
        """Send a JSON packet, or queue it until the next tick where the other side is slow."""
        if len(self._queue) < MAX_QUEUE:
            self._queue.append(packet.pack_json(kind, dict(message)))
        self.push()

    def push(self) -> None:
        """Send what is queued, as far as it goes without waiting."""
        while self._queue:
            try:
                self.connection.send(self._queue[0], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self._queue.clear()  # gone: its end will be seen when we read
                return
            self._queue.popleft()
            if self.shared is not None:
                self.shared.announce()


class Listener:
    """Accepts connections of this user and reads what they send; never waits.

    Args:
        path: of the socket; its folder must be private.
        received: called with each packet.
        left: called when a connection has ended, after its last packet.
    """

    def __init__(self, path: str, received: Callable[[Client, bytes], None], left: Callable[[Client], None]) -> None:
        self.path = path
        self.clients: list[Client] = []
        self._received = received
        self._left = left
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Begin to listen. The caller holds the lock, so a socket that lies there is a dead agent's.

        Raises:
            OSError: the socket cannot be made.
        """
        self._shut()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._socket.bind(self.path)
        self._socket.listen(128)

    def tick(self) -> bool:
        """Take what has come in; whether anything had."""
        busy = self._accept()
        behind = False
        # Launchers last: when one reports the end of its job, the probe's last packets lie in its own connection.
        for client in sorted(self.clients, key=lambda client: client.launcher):
            client.push()
            if client.launcher and behind:
                continue
            count = self._drain(client)
            busy = busy or count > 0
            behind = behind or count >= PACKETS_A_TICK
        return busy

    def nobody_at_the_door(self) -> bool:
        """Stop listening, and go on with it where somebody had come in the last moment; whether nobody had.

        Who comes later finds no socket, and starts an agent of its own. With the socket still there it could come
        between our last look and our end, and would believe for good that it had been heard.

        Raises:
            OSError: the socket cannot be made again.
        """
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        if not self.tick():
            return True
        self.open()
        return False

    def close(self) -> None:
        """Stop listening and hang up."""
        for client in self.clients:
            client.connection.close()
            if client.shared is not None:
                client.shared.close()
        self.clients.clear()
        if self._socket is not None:
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def _accept(self) -> bool:
        assert self._socket is not None
        any_new = False
        for _ in range(MAX_CLIENTS):
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                break
            except OSError as error:
                _log.warning("accept_failed", extra=fields(reason=error.strerror))
                break
            any_new = True
            self._admit(connection)
        return any_new

    def _admit(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        size = struct.calcsize("3i")
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        if uid != os.getuid() or len(self.clients) >= MAX_CLIENTS:
            reason = "another user" if uid != os.getuid() else f"{MAX_CLIENTS} connections are open"
            _log.warning("client_refused", extra=fields(pid=pid, uid=uid, reason=reason))
            Client(connection, "").send(packet.REFUSED, message=f"the agent takes no connection: {reason}")
            connection.close()
            return
        self.clients.append(Client(connection, processes.mark(pid) or f"{pid}:0"))

    def _drain(self, client: Client) -> int:
        # What declares a row's columns was sent before the row was written: how far is looked up first.
        until = client.shared.written() if client.shared is not None else 0
        for count in range(PACKETS_A_TICK):
            try:
                data = self._read(client)
            except BlockingIOError:
                return count + self._rows(client, until)
            except ConnectionResetError:
                # It hung up before it read our last words. Linux says so first, and only then hands out what it had
                # sent, which is all there: its last rows and its goodbye.
                continue
            except OSError as error:
                _log.warning("client_failed", extra=fields(process=client.process, reason=error.strerror))
                data = b""
            if not data:
                self._hang_up(client)
                return count + 1
            if data[0] == packet.SHARED:
                self._share(client)
                continue
            if data[0] == packet.BYE and client.shared is not None:
                # Said after the last row was written.
                self._rows(client, client.shared.written())
            self._received(client, data)
            if client not in self.clients:
                return count + 1
        return PACKETS_A_TICK

    def _read(self, client: Client) -> bytes:
        """One packet; the descriptor that may have come with it is opened."""
        if client.shared is not None:
            return client.connection.recv(packet.MAX_PACKET + 1)
        data, descriptors, _, _ = socket.recv_fds(client.connection, packet.MAX_PACKET + 1, 1)
        for descriptor in descriptors:
            try:
                client.shared = Inbox(descriptor)
            except SharedError as error:
                _log.warning("memory_refused", extra=fields(process=client.process, reason=str(error)))
        return data

    def _share(self, client: Client) -> None:
        if client.shared is None:
            self.refuse(client, "the agent cannot read the memory it was given")
        else:
            client.shared.announce()  # for what was sent before it was there

    def _rows(self, client: Client, until: int) -> int:
        """Take the rows that stand in memory; how many there were."""
        if client.shared is None:
            return 0
        try:
            rows = client.shared.take(until) if until else []
        except SharedError as error:
            _log.warning("memory_damaged", extra=fields(process=client.process, reason=str(error)))
            self.refuse(client, str(error))
            return 0
        for row in rows:
            self._received(client, row)
        return len(rows)

    def refuse(self, client: Client, message: str) -> None:
        """Say why, and hang up."""
        client.send(packet.REFUSED, message=message)
        self._hang_up(client)

    def _hang_up(self, client: Client) -> None:
        if client in self.clients:
            self.clients.remove(client)
            client.connection.close()
            if client.shared is not None:
                self._rows(client, client.shared.written())
                client.shared.close()
                client.shared = None
            self._left(client)
