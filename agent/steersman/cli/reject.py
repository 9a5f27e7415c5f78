"""`steersman reject ID|JOB`."""

from __future__ import annotations

import click

from steersman.cli.options import daemon_option, json_option


@click.command(name="reject", help="Reject a proposed adjustment, by its id or its job's name.")
@click.argument("target", metavar="ID|JOB")
@click.option("--reason", default="", help="Why, for the ledger.")
@daemon_option
@json_option
def command(target: str, reason: str, address: str, json_output: bool) -> None:
    """Reject a proposed adjustment."""
    from steersman.cli.client import connect
    from steersman.cli.decide import report, waiting_one

    with connect(address) as client:
        adjustment = client.reject(waiting_one(client, target).id, reason)
    report(adjustment, json_output)
