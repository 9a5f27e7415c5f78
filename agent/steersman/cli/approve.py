"""`steersman approve ID|JOB`."""

from __future__ import annotations

import click

from steersman.cli.options import daemon_option, json_option


@click.command(name="approve", help="Approve a proposed adjustment, by its id or its job's name.")
@click.argument("target", metavar="ID|JOB")
@daemon_option
@json_option
def command(target: str, address: str, json_output: bool) -> None:
    """Approve a proposed adjustment."""
    from steersman.cli.client import connect
    from steersman.cli.decide import refuse_if_refused, report, waiting_one

    with connect(address) as client:
        adjustment = client.approve(waiting_one(client, target).id)
    report(adjustment, json_output)
    refuse_if_refused(adjustment)
