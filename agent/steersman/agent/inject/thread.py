"""A few machine instructions by which a Python starts a thread that runs a line of source.

Python calls them from its queue of pending calls, in the main thread and at a safe point. No Python runs in the main
thread: a handler of the job's own signals that raises would raise in there, and what it raised would be lost.
"""

from __future__ import annotations

import struct

from steersman.agent.inject.symbols import Symbols

_SOURCE = 128


def page(where: Symbols, place: int, source: bytes) -> tuple[bytes, int, int]:
    """What to write at `place`, which has to be executable, and the function and argument for the pending call."""

    def load(register: bytes, value: int) -> bytes:
        return register + struct.pack("<Q", value)

    rax, rdi, rsi = b"\x48\xb8", b"\x48\xbf", b"\x48\xbe"
    call_rax = b"\xff\xd0"
    text = place + _SOURCE * 2
    # In the new thread; its argument is the source.
    run = (
        b"\x53\x41\x54\x48\x83\xec\x08"  # push rbx; push r12; sub rsp, 8
        + b"\x48\x89\xfb"  # mov rbx, rdi
        + load(rax, where.ensure)
        + call_rax
        + b"\x41\x89\xc4\x48\x89\xdf"  # mov r12d, eax; mov rdi, rbx
        + load(rax, where.run_simple_string)
        + call_rax
        + b"\x44\x89\xe7"  # mov edi, r12d
        + load(rax, where.release)
        + call_rax
        + b"\x48\x83\xc4\x08\x41\x5c\x5b\xc3"  # add rsp, 8; pop r12; pop rbx; ret
    )
    # In the main thread; 0 tells Python that all is well.
    start = (
        b"\x48\x83\xec\x08"  # sub rsp, 8
        + load(rdi, place)
        + load(rsi, text)
        + load(rax, where.start_new_thread)
        + call_rax
        + b"\x31\xc0\x48\x83\xc4\x08\xc3"  # xor eax, eax; add rsp, 8; ret
    )
    return run.ljust(_SOURCE, b"\xcc") + start.ljust(_SOURCE, b"\xcc") + source + b"\0", place + _SOURCE, text
