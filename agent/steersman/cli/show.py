"""`steersman show JOB`."""

from __future__ import annotations

import click

from steersman.cli.options import daemon_option, json_option


@click.command(name="show", help="Show one job: its diagnosis and why, findings, adjustments, events.")
@click.argument("job")
@daemon_option
@json_option
def command(job: str, address: str, json_output: bool) -> None:
    """Show one job."""
    from steersman.cli.client import connect

    with connect(address) as client:
        detail = client.job(job)
    if json_output:
        from steersman.cli.jsonform import dumps

        click.echo(dumps(detail))
        return
    from steersman.cli.render import console, job_page

    console().print(job_page(detail))
