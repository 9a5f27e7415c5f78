"""What a job may be called."""

from __future__ import annotations


def check_job_name(name: str) -> str:
    """`name` if a job can be named so on a command line later.

    Raises:
        ValueError: it begins as an option does.
    """
    if name.startswith("-"):
        raise ValueError(f"a job can't be called {name!r}: a name that begins with - is taken for an option")
    return name
