"""`steersman top`."""

from __future__ import annotations

import click

from steersman.cli.client import check_address
from steersman.cli.errors import UsageError
from steersman.cli.options import daemon_option
from steersman.cli.terminal import on_terminal
from steersman.tui.app import run


@click.command(name="top", help="Watch all jobs in a terminal dashboard; ? lists its keys.")
@click.option("--job", default=None, metavar="NAME", help="Open this job's screen at once.")
@daemon_option
def command(job: str | None, address: str) -> int:
    """Watch all jobs."""
    check_address(address)
    if not on_terminal():
        raise UsageError(
            "top needs a terminal: stdin, stdout and stderr must be one", "`steersman jobs` and `show JOB` print"
        )
    return run(address, job)
