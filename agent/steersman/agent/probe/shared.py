"""Memory that a probe shares with its agent: a row put there costs no system call.

A system call costs more than its own time. On the processors of today it also throws out what the core had learnt of
the branches ahead, and torch, which is nothing but indirect calls, pays for that during the step: a row over a socket
added three to four times what one in memory does (benchmarks/probe_overhead.py). What has been written stays readable
for the agent when the job is killed next, as with a socket.

The probe makes the memory, without a name and sealed so that it cannot shrink under the reader's hands, and passes it
over the socket, once the agent has said that it reads it. Counters at the start say how much was written and taken;
each is moved by one side alone, with one store of eight bytes. Then come records, each a length and that many bytes,
filled up to eight. A record is never cut in two: where it does not fit before the end, a mark sends the reader back
to the start.

Standard library only, syntax of Python 3.9: this file is part of what enters the training process.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import List

SIZE = 1 << 18
_HEAD = 64
_ROOM = SIZE - _HEAD
# Places of the counters, in words of eight bytes.
_WRITTEN, _TAKEN, _MAIL = 0, 1, 2
_BACK = (1 << 64) - 1
_SEALS = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_SEAL")


class SharedError(ValueError):
    """Memory that does not follow this layout."""


class Outbox:
    """The probe's side.

    Args:
        descriptor: of the memory; belongs to this object from here on.

    Attributes:
        memory: where records are packed, at what `room` returned: the length as eight bytes, and the record.
    """

    __slots__ = ("_free", "_next", "_words", "_written", "descriptor", "memory")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.memory = mmap.mmap(descriptor, SIZE)
        self._words = memoryview(self.memory).cast("Q")
        self._written = self._next = 0
        self._free = _ROOM  # up to where it was free when that was last looked at

    @classmethod
    def make(cls) -> Outbox:
        """New memory.

        Raises:
            OSError: there is none to be had.
            AttributeError: this platform has no such memory.
        """
        descriptor = os.memfd_create("steersman-rows", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, SIZE)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, sum(getattr(fcntl, name) for name in _SEALS))
            return cls(descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def room(self, size: int) -> int:
        """Where to pack a record of so many bytes, behind its length; 0: no room. Nobody sees it before `publish`."""
        written = self._written
        need = 8 + (size + 7 & -8)
        at = written % _ROOM
        skipped = _ROOM - at if at + need > _ROOM else 0
        end = written + skipped + need
        if end > self._free:
            # The reader's counter is in its own core's cache, and is asked for no more often than it has to be.
            self._free = self._words[_TAKEN] + _ROOM
            if end > self._free:
                return 0
        if skipped:
            self._words[(_HEAD + at) >> 3] = _BACK
            at = 0
        self._next = end
        return _HEAD + at

    def put(self, record: bytes) -> bool:
        """Write a record that is packed already; whether there was room."""
        at = self.room(len(record))
        if at:
            self._words[at >> 3] = len(record)
            self.memory[at + 8 : at + 8 + len(record)] = record
            self.publish()
        return bool(at)

    def publish(self) -> None:
        """The record that `room` was asked for stands there whole."""
        self._written = self._words[_WRITTEN] = self._next

    @property
    def mail(self) -> int:
        """How many packets the agent has sent over the socket since it was given this memory."""
        return self._words[_MAIL]

    def unread(self) -> List[bytes]:
        """Take back what nobody has taken."""
        inbox = Inbox(os.dup(self.descriptor))
        try:
            return inbox.take(self._written)
        finally:
            inbox.close()

    def close(self) -> None:
        """Give the memory up; the agent keeps its own view of it."""
        self._words.release()
        self.memory.close()
        os.close(self.descriptor)


class Inbox:
    """The agent's side.

    Args:
        descriptor: of the memory, as it came over the socket; closed in any case.

    Raises:
        SharedError: it is no memory of ours, or could shrink while it is being read.
    """

    def __init__(self, descriptor: int) -> None:
        try:
            if os.fstat(descriptor).st_size != SIZE:
                raise SharedError(f"shared memory of {os.fstat(descriptor).st_size} bytes instead of {SIZE}")
            if not fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
                raise SharedError("shared memory that is not sealed")
            self._memory = mmap.mmap(descriptor, SIZE)
        except OSError as error:
            raise SharedError(f"shared memory that cannot be read: {error.strerror or error}") from None
        finally:
            os.close(descriptor)
        self._words = memoryview(self._memory).cast("Q")

    def written(self) -> int:
        """How far it has been written."""
        return self._words[_WRITTEN]

    def take(self, until: int) -> List[bytes]:
        """The records up to there, which makes their room free.

        Raises:
            SharedError: what stands there is no record.
        """
        words, memory = self._words, self._memory
        taken = words[_TAKEN]
        found: List[bytes] = []
        if not taken <= until <= taken + _ROOM:
            raise SharedError(f"shared memory written up to {until}, taken up to {taken}")
        while taken < until:
            at = taken % _ROOM
            size = words[(_HEAD + at) >> 3]
            if size == _BACK:
                taken += _ROOM - at
                continue
            if at + 8 + size > _ROOM:
                raise SharedError(f"a record of {size} bytes in shared memory")
            found.append(memory[_HEAD + at + 8 : _HEAD + at + 8 + size])
            taken += 8 + (size + 7 & -8)
        words[_TAKEN] = taken
        return found

    def announce(self) -> None:
        """A packet for the probe lies in its socket."""
        self._words[_MAIL] += 1

    def close(self) -> None:
        """Give the memory up."""
        self._words.release()
        self._memory.close()
