"""`steersman top`."""

from __future__ import annotations

import click

from steersman.cli.options import daemon_option


@click.command(name="top", help="Watch all jobs in a terminal dashboard; ? lists its keys.")
@click.option("--job", default=None, metavar="NAME", help="Open this job's screen at once.")
@daemon_option
def command(job: str | None, address: str) -> None:
    """Watch all jobs."""
    from steersman.cli.client import check_address
    from steersman.tui.app import run

    run(check_address(address), job)
