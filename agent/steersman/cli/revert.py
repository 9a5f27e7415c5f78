"""`steersman revert ID|JOB`."""

from __future__ import annotations

import click

from steersman.cli.options import daemon_option, json_option


@click.command(name="revert", help="Take an adjustment back, by its id, or the newest in force of a job.")
@click.argument("target", metavar="ID|JOB")
@click.option("--reason", default="", help="Why, for the ledger.")
@daemon_option
@json_option
def command(target: str, reason: str, address: str, json_output: bool) -> None:
    """Take an adjustment back."""
    from steersman.cli.client import connect
    from steersman.cli.decide import report, revertible_one

    with connect(address) as client:
        adjustment = client.revert(revertible_one(client, target).id, reason)
    report(adjustment, json_output)
