"""Calls made in real processes, which must end as they would have without us."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steersman.agent.inject import ptrace, symbols, thread
from steersman.agent.inject.elf import Elf, ElfError
from steersman.agent.target import Target

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a Python that prints a line when it is on its way."""
    made: list[subprocess.Popen[str]] = []

    def begin(code: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-u", "-c", code]
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
        assert process.stdout is not None
        made.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield begin
    for process in made:
        process.kill()
        process.communicate()


def enter(process: subprocess.Popen[str], code: str) -> ptrace.Entered:
    return ptrace.call(process.pid, made(symbols.find(Target(process.pid)), code))


def made(where: symbols.Symbols, code: str) -> ptrace.Call:
    return ptrace.Call(
        function=where.add_pending_call,
        page=lambda place: thread.page(where, place, code.encode()),
        size=4096,
        syscall=where.syscall,
        breakpoint=where.breakpoint,
        waits=where.waits,
    )


def end(process: subprocess.Popen[str]) -> tuple[str, int]:
    out, _ = process.communicate("\n", timeout=60)
    return out, process.returncode


# Numbers stand in vector registers whenever it is stopped, memory is taken all the time, and its sums are known.
BUSY = """
import math, os
print("ready")
wrong = rounds = 0
while not os.path.exists("enough") or rounds < 300:
    rounds += 1
    lists = [[float(i)] * 40 for i in range(300)]
    blocks = [bytearray(70000 + i) for i in range(20)]
    wrong += math.fsum(sum(one) for one in lists) != 1794000.0
    wrong += math.sqrt(2.0) * math.sqrt(8.0) != 4.000000000000001
print(wrong, "wrong")
"""


def test_a_busy_process_is_entered_hundreds_of_times_and_computes_the_same(start: Start, tmp_path: Path) -> None:
    process = start(BUSY)
    entered = [enter(process, "pass") for _ in range(300)]
    # A queue of pending calls that is full says so; nothing else may go wrong.
    assert {one.value for one in entered} <= {0, -1}
    assert sum(one.value == 0 for one in entered) > 100
    assert sorted(one.stopped for one in entered)[150] < 0.05
    (tmp_path / "enough").touch()
    assert end(process) == ("0 wrong\n", 0)


def test_what_is_put_in_runs_and_a_blocking_read_goes_on(start: Start) -> None:
    code = (
        "import sys, time\nprint('ready')\nprint(repr(sys.stdin.readline()), 'after')\n"
        "while not hasattr(sys, 'entered'): time.sleep(0.01)"
    )
    process = start(code)
    assert enter(process, "__import__('sys').entered = 1").value == 0
    assert end(process) == ("'\\n' after\n", 0)


def test_a_main_thread_that_waits_for_others_is_woken(start: Start) -> None:
    code = "import threading, sys; t = threading.Thread(target=sys.stdin.readline); print('ready'); t.start(); t.join()"
    process = start(code)
    assert process.stdout is not None
    while not enter(process, "print('inside')").woken:  # it may not be waiting yet
        assert process.stdout.readline() == "inside\n"
    assert process.stdout.readline() == "inside\n"
    assert end(process) == ("", 0)


def test_signals_that_come_meanwhile_are_not_lost(start: Start) -> None:
    code = (
        "import signal, sys\ngot = []\nsignal.signal(signal.SIGUSR1, lambda *_: got.append(1))\nprint('ready')\n"
        "sys.stdin.readline()\nprint(len(got) > 0)"
    )
    process = start(code)
    for _ in range(20):
        process.send_signal(10)
        enter(process, "pass")
    assert end(process) == ("True\n", 0)


def test_a_process_that_is_gone_is_said_to_be(start: Start) -> None:
    process = start("print('ready'); input()")
    where = symbols.find(Target(process.pid))
    assert end(process)[1] == 0
    with pytest.raises(ptrace.PtraceError, match="cannot be traced: No such process"):
        ptrace.call(process.pid, made(where, "pass"))


def test_a_process_that_is_no_python_is_known_by_its_memory() -> None:
    with subprocess.Popen(["sleep", "100"]) as process:
        try:
            # Between fork and exec it is still a copy of ourselves.
            while not Target(process.pid).program.endswith("sleep"):
                pass
            with pytest.raises(symbols.NotPythonError):
                symbols.find(Target(process.pid))
        finally:
            process.kill()


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(100)])
def test_what_is_no_program_is_refused(content: bytes) -> None:
    with pytest.raises(ElfError, match="no 64-bit program file"):
        Elf.of(content)


def test_a_program_cut_short_is_refused() -> None:
    content = Path(sys.executable).resolve().read_bytes()
    with pytest.raises(ElfError, match="cut short"):
        Elf.of(content[:4000]).exported(["main"])


def test_this_process_may_trace() -> None:
    assert ptrace.ptrace_forbidden() == ""
