"""Whether a process is still there, and still the same one."""

from __future__ import annotations

from pathlib import Path


def mark(pid: int, proc: str = "/proc") -> str:
    """The process as `PID:START`, so that a reused number is not taken for it; empty where it is gone.

    A zombie counts as gone: it will never send again.
    """
    try:
        text = (Path(proc) / str(pid) / "stat").read_text()
    except OSError:
        return ""
    # The name stands in brackets and may hold anything, brackets and blanks included.
    after = text.rpartition(")")[2].split()
    if not after or after[0] in "ZX":
        return ""
    return f"{pid}:{after[19]}"


def loads_data(known: str, proc: str = "/proc") -> bool:
    """Whether the process with this mark is a DataLoader's worker: torch gives it this name (from 2.6 on)."""
    try:
        return (Path(proc) / known.partition(":")[0] / "comm").read_text().strip() == "pt_data_worker"
    except OSError:
        return False


def alive(known: str, proc: str = "/proc") -> bool:
    """Whether the process with this mark still runs."""
    pid = known.partition(":")[0]
    return bool(known) and pid.isdigit() and mark(int(pid), proc) == known
