"""What every client command has in common: `--daemon` and `--json`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

DEFAULT_DAEMON = "127.0.0.1:7461"
"""Where a daemon listens unless told otherwise."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def daemon_option(function: _Command) -> _Command:
    """Adds `--daemon`, as parameter `address`."""
    return click.option(
        "--daemon",
        "address",
        envvar="STEERSMAN_DAEMON",
        default=DEFAULT_DAEMON,
        metavar="HOST:PORT",
        show_default=True,
        help="The daemon to ask; STEERSMAN_DAEMON when absent.",
    )(function)


def wait_options(function: _Command) -> _Command:
    """Adds `--wait/--no-wait` and `--timeout`."""
    timeout = click.option(
        "--timeout",
        type=click.FloatRange(0.1),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait.",
    )
    wait = click.option(
        "--wait/--no-wait", default=True, help="Wait until the optimizer has been read back.", show_default=True
    )
    return wait(timeout(function))


def json_option(function: _Command) -> _Command:
    """Adds `--json`, as parameter `json_output`."""
    return click.option(
        "--json", "json_output", is_flag=True, help="Print JSON and nothing else on stdout; see docs/cli.md."
    )(function)
