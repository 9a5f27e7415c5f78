"""The way to the agent: one socket that is never waited for."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional

from . import packet

_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_SCHEMA_AT = 2  # where a row carries its schema's id, and behind it its sequence number
_SEQ_AT = 4
_U16 = struct.Struct("<H")
_U64 = struct.Struct("<Q")
_RETRY = 1.0  # seconds between two attempts to connect


class Channel:
    """Sends rows in order, keeps a bounded number while nobody takes them, and reads what the agent says.

    A row gets its sequence number when the socket takes it, not before: what had to be dropped while nobody listened
    never had a number, so that numbers on the wire are contiguous, and the loss is said as an event `rows_dropped`
    with its count as soon as somebody listens again.

    Args:
        path: the agent's socket.
        hello: makes the HELLO message; called for each connection.
        keep: rows kept while they cannot be sent.

    Attributes:
        next_seq: the number that the next row on the wire will have.
        dropped: rows that were not kept any longer.
    """

    def __init__(self, path: str, hello: Callable[[], Dict[str, Any]], keep: int = 4096) -> None:
        self._path = path
        self._hello = hello
        self._keep = keep
        self._sock: Optional[socket.socket] = None
        self._rows: Deque[bytes] = deque()
        self._notes: Deque[bytes] = deque(maxlen=256)
        self._schemas: Dict[int, bytes] = {}
        self._declared = -1
        self._greeted = False
        self._tried = -_RETRY
        self.next_seq = 1
        self.dropped = 0
        self._said = 0

    @property
    def connected(self) -> bool:
        """Whether an agent is at the other end, as far as is known."""
        return self._sock is not None

    def declare(self, identity: int, message: bytes) -> None:
        """Remember a SCHEMA packet; it is sent before the first row that needs it, on every connection anew."""
        self._schemas[identity] = message

    def greet_again(self) -> None:
        """Say HELLO once more on this connection, because there is more to say."""
        self._greeted = False

    def send_row(self, row: bytes, schema: int) -> None:
        """Send one packed row whose sequence number is `next_seq`, or keep it."""
        sock = self._sock
        if sock is not None and schema == self._declared and not self._rows and not self._notes:
            try:
                sock.send(row, _FLAGS)
            except BlockingIOError:
                pass
            except OSError:
                self._lost()
            else:
                self.next_seq += 1
                return
        if len(self._rows) >= self._keep:
            self._rows.popleft()
            self.dropped += 1
        self._rows.append(row)
        if sock is not None:
            self.flush()

    def send_note(self, message: bytes) -> None:
        """Send an EVENT, ACK or BYE, or keep it; notes go before rows that wait."""
        self._notes.append(message)
        self.flush()

    def tend(self) -> None:
        """Connect where there is no connection, at most once a second, and send what waits."""
        if self._sock is None:
            now = time.monotonic()
            if now - self._tried < _RETRY:
                return
            self._tried = now
            self._connect()
        if self._rows or self._notes:
            self.flush()

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self._path)
        except OSError:
            # Nobody listens, or its queue is full: the next attempt is a second away.
            sock.close()
            return
        self._sock = sock
        self._declared = -1
        self._greeted = False
        self.flush()

    def flush(self) -> bool:
        """Send what waits until the socket takes no more; whether nothing waits any longer."""
        if self._sock is None:
            return False
        if not self._greeted:
            if not self._put(packet.pack_json(packet.HELLO, self._hello())):
                return False
            self._greeted = True
        while self._notes:
            if not self._put(self._notes[0]):
                return False
            self._notes.popleft()
        while self._rows:
            row = self._rows[0]
            schema = _U16.unpack_from(row, _SCHEMA_AT)[0]
            if schema != self._declared:
                if not self._put(self._schemas[schema]):
                    return False
                self._declared = schema
            numbered = bytearray(row)
            _U64.pack_into(numbered, _SEQ_AT, self.next_seq)
            if not self._put(bytes(numbered)):
                return False
            self.next_seq += 1
            self._rows.popleft()
        if self.dropped > self._said:
            count = self.dropped - self._said
            words = f"{count} rows were dropped: the agent took none for too long"
            event = {"time": time.time(), "step": -1, "kind": "rows_dropped", "message": words, "count": count}
            if not self._put(packet.pack_json(packet.EVENT, event)):
                return False
            self._said = self.dropped
        return True

    def _put(self, message: bytes) -> bool:
        sock = self._sock
        if sock is None:
            return False
        try:
            sock.send(message, _FLAGS)
        except BlockingIOError:
            return False
        except OSError:
            self._lost()
            return False
        return True

    def receive(self) -> List[bytes]:
        """What the agent has said since the last call."""
        messages: List[bytes] = []
        while self._sock is not None and len(messages) < 16:
            try:
                message = self._sock.recv(packet.MAX_PACKET, _FLAGS)
            except BlockingIOError:
                break
            except OSError:
                self._lost()
                break
            if not message:
                self._lost()
                break
            messages.append(message)
        return messages

    def drain(self, seconds: float) -> bool:
        """At the end of the job, and only there: wait a moment until the agent has taken what is left."""
        deadline = time.monotonic() + seconds
        while not self.flush():
            left = deadline - time.monotonic()
            if self._sock is None or left <= 0:
                return False
            select.select([], [self._sock], [], min(left, 0.05))
        return True

    def _lost(self) -> None:
        sock, self._sock = self._sock, None
        self._declared = -1
        if sock is not None:
            sock.close()

    def close(self) -> None:
        """Hang up."""
        self._lost()

    def forked(self) -> None:
        """In the child of a fork: the parent's connection, rows and numbers are not ours."""
        sock, self._sock = self._sock, None
        if sock is not None:
            # Not sock.shutdown: that would end the parent's connection too.
            os.close(sock.detach())
        self._rows.clear()
        self._notes.clear()
        self._declared = -1
        self._tried = -_RETRY
        self.next_seq = 1
        self.dropped = self._said = 0
