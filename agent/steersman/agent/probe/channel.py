"""The way to the agent: one socket that is never waited for, and memory for rows beside it."""

from __future__ import annotations

import array
import os
import select
import socket
import struct
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional

from . import packet
from .guard import pass_on
from .shared import Outbox

_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_SCHEMA_AT = 2  # where a row carries its schema's id, and behind it its sequence number
_SEQ_AT = 4
_U16 = struct.Struct("<H")
_U64 = struct.Struct("<Q")
_RETRY = 1.0  # seconds between two attempts to connect
_LOOK = 1.0  # seconds after which the socket is looked at although no mail was announced: its end may have gone


class Channel:
    """Sends rows in order, keeps a bounded number while nobody takes them, and reads what the agent says.

    A row gets its sequence number when the socket or the shared memory takes it, not before: what had to be dropped
    while nobody listened never had a number, so that numbers on the wire are contiguous, and the loss is said as an
    event `rows_dropped` with its count as soon as somebody listens again.

    Rows go over the socket until the agent has offered to read them from memory; after that the socket carries the
    rest, and what declares a row's columns is sent before the row is written. Memory outlives a connection: the next
    agent finds in it what the last one did not take.

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
        self._declared = self._newest = -1
        self._greeted = False
        self._tried = -_RETRY
        self.next_seq = 1
        self.dropped = 0
        self._said = 0
        self._turn = [True]  # of using the socket: whoever takes it out may, and puts it back
        self._outbox: Optional[Outbox] = None
        self._offered = False
        self._shares = False  # whether the agent of this connection has the memory
        self._mail = -1
        self._looked = 0.0
        self.straight: Optional[Outbox] = None
        """The memory, while the next row may be packed there at once, with `next_seq` as its number."""

    @property
    def connected(self) -> bool:
        """Whether an agent is at the other end, as far as is known."""
        return self._sock is not None

    def declare(self, identity: int, message: bytes) -> None:
        """Remember a SCHEMA packet; it is sent before the first row that needs it, on every connection anew."""
        self._schemas[identity] = message
        self._newest = identity
        self.straight = None

    def greet_again(self) -> None:
        """Say HELLO once more on this connection, because there is more to say."""
        self._greeted = False

    def send_row(self, row: bytes, schema: int) -> None:
        """Send one packed row whose sequence number is `next_seq`, or keep it."""
        if not self._straightaway(row, schema):
            if len(self._rows) >= self._keep:
                self._rows.popleft()
                self.dropped += 1
            self._rows.append(row)
            self.straight = None
            self.flush()

    def _straightaway(self, row: bytes, schema: int) -> bool:
        sock = self._sock
        if sock is None or schema != self._declared or self._outbox is not None or self._rows or self._notes:
            return False
        try:
            turn = self._turn.pop()
        except IndexError:
            return False
        try:
            sock.send(row, _FLAGS)
        except BlockingIOError:
            return False
        except OSError as error:
            pass_on(error)
            self._lost()
            return False
        finally:
            self._turn.append(turn)
        self.next_seq += 1
        return True

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
        if self._offered and not self._shares:
            self._share()
        if self._rows or self._notes:
            self.flush()

    def offered(self, shared: bool) -> None:
        """The agent of this connection has said whether it reads rows from memory."""
        if shared:
            self._offered = True
            if not self._shares:
                self._share()
        elif not self._shares:
            self._take_back()
            self.flush()

    def _share(self) -> None:
        """Give the agent the memory, made where there is none yet; again later where the socket is full."""
        if self._outbox is None:
            try:
                self._outbox = Outbox.make()
            except (OSError, AttributeError):
                # None to be had, or not on this platform: the socket does it.
                self._offered = False
                return
        # What an earlier agent left there may have any of these columns.
        for schema in self._schemas.values():
            if not self._put(schema):
                return
        sock = self._sock
        if sock is None:
            return
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [self._outbox.descriptor]))]
        try:
            sock.sendmsg([packet.pack_json(packet.SHARED, {})], rights, _FLAGS)
        except BlockingIOError:
            return
        except OSError as error:
            pass_on(error)
            self._lost()
            return
        self._shares = True
        self._mail = -1
        self.flush()

    def _take_back(self) -> None:
        """What no agent took from the memory goes by the socket after all, and the memory away."""
        outbox, self._outbox = self._outbox, None
        if outbox is None:
            return
        self._shares = self._offered = False
        self.straight = None
        unread = outbox.unread()
        self._rows.extendleft(reversed(unread))
        self.next_seq -= len(unread)
        outbox.close()

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
        """Send what waits until the socket takes no more; whether nothing waits any longer.

        While another thread is at it there is nothing to do: it takes along what came meanwhile, or `tend` does later.
        """
        try:
            turn = self._turn.pop()
        except IndexError:
            return False
        try:
            return self._send_all()
        finally:
            self._turn.append(turn)

    def _send_all(self) -> bool:
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
        if self._outbox is not None and not self._shares:
            # What lies in the memory comes first, and this agent has not got it yet.
            return not self._rows
        while self._rows:
            row = self._rows[0]
            schema = _U16.unpack_from(row, _SCHEMA_AT)[0]
            if schema != self._declared:
                if not self._put(self._schemas[schema]):
                    return False
                self._declared = schema
            numbered = bytearray(row)
            _U64.pack_into(numbered, _SEQ_AT, self.next_seq)
            if not self._place(bytes(numbered)):
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
        if self._shares and self._declared == self._newest:
            self.straight = self._outbox
            if self._rows:
                self.straight = None  # came from another thread meanwhile, and goes first
        return True

    def _place(self, row: bytes) -> bool:
        outbox = self._outbox
        if outbox is None:
            return self._put(row)
        return outbox.put(row)

    def _put(self, message: bytes) -> bool:
        sock = self._sock
        if sock is None:
            return False
        try:
            sock.send(message, _FLAGS)
        except BlockingIOError:
            return False
        except OSError as error:
            pass_on(error)
            self._lost()
            return False
        return True

    def receive(self) -> List[bytes]:
        """What the agent has said since the last call."""
        messages: List[bytes] = []
        if self._shares and self._outbox is not None:
            mail, now = self._outbox.mail, time.monotonic()
            if mail == self._mail and now - self._looked < _LOOK:
                return messages
            self._mail, self._looked = mail, now
        while (sock := self._sock) is not None and len(messages) < 16:
            try:
                message = sock.recv(packet.MAX_PACKET, _FLAGS)
            except BlockingIOError:
                break
            except OSError as error:
                pass_on(error)
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
        if not self._shares and self._sock is not None:
            # Nobody will come any more to take the memory over.
            self._take_back()
        while not self.flush():
            left = deadline - time.monotonic()
            if self._sock is None or left <= 0:
                return False
            if self._shares:
                time.sleep(min(left, 0.002))  # memory says nothing when there is room again
            else:
                select.select([], [self._sock], [], min(left, 0.05))
        return True

    def _lost(self) -> None:
        sock, self._sock = self._sock, None
        self._declared = -1
        self._shares = self._offered = False
        self.straight = None
        if sock is not None:
            sock.close()

    def close(self) -> None:
        """Hang up. What lies in the memory is the agent's, which has its own view of it."""
        self._lost()
        outbox, self._outbox = self._outbox, None
        if outbox is not None:
            outbox.close()

    def forked(self) -> None:
        """In the child of a fork: the parent's connection, rows and numbers are not ours."""
        sock, self._sock = self._sock, None
        if sock is not None:
            # Not sock.shutdown: that would end the parent's connection too.
            os.close(sock.detach())
        outbox, self._outbox = self._outbox, None
        self.straight = None
        self._shares = self._offered = False
        if outbox is not None:
            outbox.close()
        self._rows.clear()
        self._notes.clear()
        self._declared = -1
        self._tried = -_RETRY
        self._turn = [True]
        self.next_seq = 1
        self.dropped = self._said = 0
