"""Where Python's functions lie in a process's memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from steersman.agent.inject.elf import X86_64, Elf, ElfError
from steersman.agent.target import Mapping, Target

_NEEDED = (
    "Py_AddPendingCall",
    "PyThread_start_new_thread",
    "PyGILState_Ensure",
    "PyGILState_Release",
    "PyRun_SimpleString",
)
_WAITS = "PyThread_acquire_lock_timed"


class SymbolsError(Exception):
    """The process's Python cannot be entered; says why."""


class NotPythonError(SymbolsError):
    """The process has no Python in it."""


@dataclass(frozen=True)
class Symbols:
    """Addresses in one process.

    Attributes:
        add_pending_call: `Py_AddPendingCall`.
        start_new_thread: `PyThread_start_new_thread`.
        ensure: `PyGILState_Ensure`.
        release: `PyGILState_Release`.
        run_simple_string: `PyRun_SimpleString`.
        waits: address and size of the function in which Python waits for a lock; None where it is not to be found.
        syscall: some `syscall` instruction.
        breakpoint: some `int3` instruction.
    """

    add_pending_call: int
    start_new_thread: int
    ensure: int
    release: int
    run_simple_string: int
    waits: tuple[int, int] | None
    syscall: int
    breakpoint: int


def find(target: Target) -> Symbols:
    """The addresses that entering a process takes, read from the files in its memory.

    Raises:
        NotPythonError: no file in its memory is a Python's.
        SymbolsError: one is, but cannot be used.
        OSError: its memory map or a file may not be read.
    """
    mappings = target.mappings()
    program = target.program
    paths = dict.fromkeys(m.path for m in mappings if m.path == program or "/libpython" in m.path)
    # A library has the interpreter where there is one; the program is then a small shell around it.
    for path in sorted(paths, key=lambda path: "/libpython" not in path):
        elf = _read(target, path, [m for m in mappings if m.path == path])
        names = elf.exported((*_NEEDED, _WAITS))
        if all(name in names for name in _NEEDED):
            bias = _bias(elf, [m for m in mappings if m.path == path])
            waits = names.get(_WAITS)
            return Symbols(
                add_pending_call=bias + names["Py_AddPendingCall"][0],
                start_new_thread=bias + names["PyThread_start_new_thread"][0],
                ensure=bias + names["PyGILState_Ensure"][0],
                release=bias + names["PyGILState_Release"][0],
                run_simple_string=bias + names["PyRun_SimpleString"][0],
                waits=(waits[0] + bias, waits[1]) if waits else None,
                syscall=_instruction(target, mappings, b"\x0f\x05"),
                breakpoint=bias + elf.code_with(b"\xcc"),
            )
    if target.python() is not None:
        raise SymbolsError("its Python is linked statically and exports no symbols, so that nothing in it can be found")
    raise NotPythonError("it has no Python in it")


def _instruction(target: Target, mappings: list[Mapping], pattern: bytes) -> int:
    for path in dict.fromkeys(m.path for m in mappings if m.code and "/libc" in m.path):
        mine = [m for m in mappings if m.path == path]
        try:
            elf = _read(target, path, mine)
            return _bias(elf, mine) + elf.code_with(pattern)
        except (ElfError, SymbolsError):
            continue
    raise SymbolsError("its C library cannot be found in its memory")


def _read(target: Target, path: str, mappings: list[Mapping]) -> Elf:
    # The link leads to the program that runs even where another one lies at its path by now.
    file = target.folder / "exe" if path == target.program else Path(path)
    try:
        content = file.read_bytes()
        inode = file.stat().st_ino
    except FileNotFoundError:
        raise SymbolsError(f"{path} is no longer there: it was replaced while the process ran") from None
    if any(m.inode != inode for m in mappings):
        raise SymbolsError(f"{path} was replaced while the process ran, so that nothing in its memory can be found")
    try:
        elf = Elf.of(content)
    except ElfError as error:
        raise SymbolsError(f"{path}: {error}") from None
    if elf.machine != X86_64:
        raise SymbolsError("it is no x86-64 program; only those can be entered so far")
    return elf


def _bias(elf: Elf, mappings: list[Mapping]) -> int:
    first = min(mappings, key=lambda m: m.start)
    try:
        return elf.bias(first.start, first.offset)
    except ElfError as error:
        raise SymbolsError(f"{first.path}: {error}") from None
