"""The one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What scripts can lean on; the same for every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    REFUSED = 5
    INTERRUPTED = 130


class CommandError(Exception):
    """A command could not do what was asked.

    Attributes:
        message: what happened, to what.
        hint: what to do next; may be empty.
        code: the exit code.
    """

    def __init__(self, message: str, hint: str = "", code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class UsageError(CommandError):
    """The words of the command line are wrong."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, ExitCode.USAGE)


class UnreachableError(CommandError):
    """No daemon answers, or it speaks another protocol."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, ExitCode.UNREACHABLE)


class NotFoundError(CommandError):
    """A job, series or adjustment that the daemon does not know."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, ExitCode.NOT_FOUND)


class RefusedError(CommandError):
    """The daemon, the owner's limits or the probe said no."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, ExitCode.REFUSED)


class MissingExtraError(CommandError):
    """The command needs a part of Steersman that is not installed."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(
            f"this command needs {module}, which is not installed", f"pip install 'steersman[{extra}]'", ExitCode.FAILED
        )
