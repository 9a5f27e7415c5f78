"""One function call made in the main thread of another process, through Linux's ptrace (x86-64).

The thread is stopped for about a millisecond. Nothing is loaded into the process and nothing of it is overwritten: all
registers, those of the vector units included, are put back as they were, and an interrupted system call goes on.

What may be called is therefore little: the thread stands at any instruction, perhaps inside malloc or with Python's
lock in hand. The caller chooses something that neither allocates nor takes locks that others hold for long.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_CONT, _SINGLESTEP, _GETREGS, _SETREGS, _DETACH = 7, 9, 12, 13, 17
_GETREGSET, _SETREGSET, _SEIZE, _INTERRUPT = 0x4204, 0x4205, 0x4206, 0x4207
_GETSIGMASK, _SETSIGMASK, _GET_RSEQ = 0x420A, 0x420B, 0x420F
_XSTATE = 0x202
_EVENT_STOP = 128
_WALL = 0x40000000
_MMAP, _FUTEX = 9, 202
_EINTR = 4
_RESTARTS = {-512, -513, -514, -516}  # what an interrupted system call shows before the kernel begins it again
_REGISTERS = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
    *("orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
)
_LAYOUT = struct.Struct("<27Q")
_ALL = (1 << 64) - 1
_RED_ZONE = 128
_UNBLOCKABLE = {signal.SIGSTOP, signal.SIGKILL}

STOP_PATIENCE = 2.0
"""Seconds that the thread has to come to a stop; one that waits for a disk may need longer, and is left alone."""

CALL_PATIENCE = 0.1
"""Seconds after which a call that waits for a lock is taken back."""


class PtraceError(Exception):
    """The process could not be entered; it runs on as if nobody had tried."""


class BusyError(PtraceError):
    """The thread stood where it could not be diverted at that moment; the next try may well succeed."""


class _IoVector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def _ptrace(request: int, pid: int, address: int = 0, data: int | ctypes.c_void_p | None = None) -> None:
    if _libc.ptrace(request, pid, address, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def ptrace_forbidden() -> str:
    """Why this process may trace nobody at all, as where a container's seccomp profile forbids it; empty if it may."""
    try:
        _ptrace(_SEIZE, 0x7FFFFFFF)  # nobody has this number
    except ProcessLookupError:
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return ""


@dataclass(frozen=True)
class Call:
    """What is to be called.

    Attributes:
        function: its address in the process.
        page: gives, for the address of new executable memory of the process, what is put there, and stays, and the
            two arguments.
        size: bytes that this takes at most.
        syscall: address of a `syscall` instruction.
        breakpoint: address of an `int3` instruction.
        waits: address and size of the function in which Python waits for a lock. A main thread found waiting there
            is woken by EINTR, as by a signal, for it would otherwise not see to what waits for it; None wakes nobody.
    """

    function: int
    page: Callable[[int], tuple[bytes, int, int]]
    size: int
    syscall: int
    breakpoint: int
    waits: tuple[int, int] | None = None


@dataclass
class Entered:
    """How it went.

    Attributes:
        value: what the function returned, as a C int.
        stopped: seconds for which the thread stood still.
        woken: whether the thread was waiting for a lock and was woken.
    """

    value: int
    stopped: float
    woken: bool


def call(pid: int, what: Call) -> Entered:
    """Call a function in the main thread of a process.

    Raises:
        PtraceError: it could not be done; the process is as it was.
    """
    with _undisturbed():
        return _Visit(pid).make(what)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Nothing may end or hold us up while somebody else's registers are not their own."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class _State:
    registers: dict[str, int]
    vectors: ctypes.Array[ctypes.c_char]
    mask: ctypes.c_uint64


@dataclass
class _Visit:
    pid: int
    late: list[int] = field(default_factory=list)

    def make(self, what: Call) -> Entered:
        try:
            _ptrace(_SEIZE, self.pid)
        except OSError as error:
            raise PtraceError(f"process {self.pid} cannot be traced: {error.strerror}") from None
        began = time.perf_counter()
        try:
            self._stop()
            state = self._save()
            try:
                value = self._called(what, state)
            finally:
                woken = self._restore(what, state)
        except ProcessLookupError:
            raise PtraceError(f"process {self.pid} ended while it was entered") from None
        except OSError as error:
            raise PtraceError(f"process {self.pid} cannot be entered: {error.strerror}") from None
        finally:
            self._leave()
        return Entered(value, time.perf_counter() - began, woken)

    def _stop(self) -> None:
        """Bring the thread to a stop that is ours and at which it may be diverted."""
        for _ in range(20):
            _ptrace(_INTERRUPT, self.pid)
            while True:
                status = self._wait(STOP_PATIENCE)
                if status is None:
                    raise PtraceError(
                        f"process {self.pid} did not come to a stop within {STOP_PATIENCE:g} s (it may wait for a disk)"
                    )
                number, event = os.WSTOPSIG(status), status >> 16
                if event == _EVENT_STOP:
                    break
                _ptrace(_CONT, self.pid, 0, number)  # a signal of its own that came first
            if number != signal.SIGTRAP:
                raise PtraceError(
                    f"process {self.pid} was stopped by a signal meanwhile; continue it: kill -CONT {self.pid}"
                )
            if not self._in_rseq():
                return
            _ptrace(_CONT, self.pid)
            time.sleep(0.001)
        raise BusyError(f"process {self.pid} was always inside a restartable sequence; try again")

    def _save(self) -> _State:
        buffer = (ctypes.c_char * _LAYOUT.size)()
        _ptrace(_GETREGS, self.pid, 0, ctypes.cast(buffer, ctypes.c_void_p))
        vectors = (ctypes.c_char * 65536)()
        vector = _IoVector(ctypes.addressof(vectors), len(vectors))
        _ptrace(_GETREGSET, self.pid, _XSTATE, ctypes.cast(ctypes.pointer(vector), ctypes.c_void_p))
        mask = ctypes.c_uint64()
        _ptrace(_GETSIGMASK, self.pid, 8, ctypes.cast(ctypes.pointer(mask), ctypes.c_void_p))
        registers = dict(zip(_REGISTERS, _LAYOUT.unpack(buffer.raw), strict=True))
        return _State(registers, (ctypes.c_char * vector.length).from_buffer(vectors), mask)

    def _called(self, what: Call, state: _State) -> int:
        blocked = ctypes.c_uint64(_ALL & ~(1 << (signal.SIGTRAP - 1)))
        _ptrace(_SETSIGMASK, self.pid, 8, ctypes.cast(ctypes.pointer(blocked), ctypes.c_void_p))
        # Never writable and executable at once: a tracer may write to it all the same.
        read_execute, private_anonymous = 5, 0x22
        kept = {**state.registers, "orig_rax": _ALL, "eflags": state.registers["eflags"] & ~0x500}
        self._set(
            {
                **kept,
                **{"rip": what.syscall, "rax": _MMAP, "rdi": 0, "rsi": what.size},
                **{"rdx": read_execute, "r10": private_anonymous, "r8": _ALL, "r9": 0},
            }
        )
        self._go(_SINGLESTEP)
        place = self._get()["rax"]
        if place > _ALL - 4096:
            raise PtraceError(f"process {self.pid} gets no memory: {os.strerror(_ALL + 1 - place)}")
        stack = (state.registers["rsp"] - _RED_ZONE - 512) // 16 * 16 - 8
        content, first, second = what.page(place)
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(place)
            memory.write(content)
            memory.seek(stack)
            memory.write(struct.pack("<Q", what.breakpoint))
        self._set({**kept, "rdi": first, "rsi": second, "rip": what.function, "rsp": stack, "rax": 0})
        self._go(_CONT)
        found = self._get()
        if found["rip"] != what.breakpoint + 1:
            raise PtraceError(f"process {self.pid} did not come back from the call")
        return ctypes.c_int(found["rax"] & 0xFFFFFFFF).value

    def _go(self, request: int) -> None:
        """Let the thread run to its next trap; signals that cannot be kept from it wait until we have left."""
        _ptrace(request, self.pid)
        while True:
            status = self._wait(CALL_PATIENCE)
            if status is None:
                self._recall()
                continue
            number, event = os.WSTOPSIG(status), status >> 16
            if number == signal.SIGTRAP and event == 0:
                return
            if event == 0 and number in _UNBLOCKABLE:
                self.late.append(number)
            elif event == 0:
                raise PtraceError(f"the call in process {self.pid} failed with signal {number}")
            _ptrace(request, self.pid)

    def _recall(self) -> None:
        """Take back a call that waits for a lock; one that merely gets no processor goes on."""
        _ptrace(_INTERRUPT, self.pid)
        status = self._wait(STOP_PATIENCE)
        if status is None or status >> 16 != _EVENT_STOP:
            return
        if self._get()["orig_rax"] == _FUTEX:
            raise BusyError(f"process {self.pid} held a lock that is needed to enter it; try again")
        _ptrace(_CONT, self.pid)

    def _restore(self, what: Call, state: _State) -> bool:
        registers = state.registers
        woken = self._waits_for_python(what, registers)
        if woken:
            registers = {**registers, "rax": _ALL + 1 - _EINTR, "orig_rax": _ALL}
        vector = _IoVector(ctypes.addressof(state.vectors), len(state.vectors))
        _ptrace(_SETREGSET, self.pid, _XSTATE, ctypes.cast(ctypes.pointer(vector), ctypes.c_void_p))
        self._set(registers)
        _ptrace(_SETSIGMASK, self.pid, 8, ctypes.cast(ctypes.pointer(state.mask), ctypes.c_void_p))
        return woken

    def _waits_for_python(self, what: Call, registers: dict[str, int]) -> bool:
        """Whether the thread waits in the function `what.waits`: one of the nearest return addresses lies in it."""
        if what.waits is None or registers["orig_rax"] != _FUTEX:
            return False
        if registers["rax"] - _ALL - 1 not in _RESTARTS:
            return False
        begin, size = what.waits
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(registers["rsp"])
            near = memory.read(512)
        return any(
            begin < address < begin + size for (address,) in struct.iter_unpack("<Q", near[: len(near) // 8 * 8])
        )

    def _leave(self) -> None:
        try:
            _ptrace(_DETACH, self.pid)
        except OSError:
            return  # it has ended, or never stopped: then it is let go when we end
        for number in self.late:
            os.kill(self.pid, number)

    def _in_rseq(self) -> bool:
        """Whether the thread is inside a restartable sequence, which the kernel would not guard after a diversion."""
        config = (ctypes.c_char * 24)()
        try:
            _ptrace(_GET_RSEQ, self.pid, 24, ctypes.cast(config, ctypes.c_void_p))
        except OSError:
            return False  # a kernel without the question
        place = struct.unpack_from("<Q", config.raw)[0]
        if not place:
            return False
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(place + 8)
            section = struct.unpack("<Q", memory.read(8))[0]
            if not section:
                return False
            memory.seek(section)
            _, _, start, length = struct.unpack("<IIQQ", memory.read(24))
        return bool(start <= self._get()["rip"] < start + length)

    def _get(self) -> dict[str, int]:
        buffer = (ctypes.c_char * _LAYOUT.size)()
        _ptrace(_GETREGS, self.pid, 0, ctypes.cast(buffer, ctypes.c_void_p))
        return dict(zip(_REGISTERS, _LAYOUT.unpack(buffer.raw), strict=True))

    def _set(self, registers: dict[str, int]) -> None:
        buffer = ctypes.create_string_buffer(_LAYOUT.pack(*(registers[name] for name in _REGISTERS)), _LAYOUT.size)
        _ptrace(_SETREGS, self.pid, 0, ctypes.cast(buffer, ctypes.c_void_p))

    def _wait(self, seconds: float) -> int | None:
        """The status of the next stop, or None where there is none in time."""
        deadline = time.perf_counter() + seconds
        while True:
            found, status = os.waitpid(self.pid, os.WNOHANG | _WALL)
            if found:
                if not os.WIFSTOPPED(status):
                    raise ProcessLookupError(3, "it ended")
                return status
            if time.perf_counter() > deadline:
                return None
            time.sleep(20e-6)
