"""`steersman show JOB`."""

from __future__ import annotations

import click

from steersman.cli.errors import UsageError
from steersman.cli.options import daemon_option, json_option

_HELP = """Show one job: its diagnosis and why, findings, adjustments, events.

With --provenance ask the job itself, while it runs, where the numbers of its next sample come from: which line called
backward and the optimizer's step, which loss function, whether a division or a scale was undone, whose norm it is.
"""


@click.command(name="show", help=_HELP)
@click.argument("job")
@click.option("--provenance", is_flag=True, help="Say where the numbers of the next sample come from, instead.")
@click.option("--rank", type=click.IntRange(0), default=None, help="With --provenance: whose sample; 0 unless given.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 600.0),
    default=None,
    metavar="SECONDS",
    help="With --provenance: how long to wait for that sample; 30 unless given.",
)
@daemon_option
@json_option
def command(
    job: str, provenance: bool, rank: int | None, timeout: float | None, address: str, json_output: bool
) -> None:
    """Show one job."""
    from steersman.agent.paths import places
    from steersman.agent.strays import recall
    from steersman.cli.client import connect

    if not provenance and (rank is not None or timeout is not None):
        raise UsageError("--rank and --timeout belong to --provenance", "add --provenance, or leave them out")
    recall(places())
    with connect(address) as client:
        detail = client.provenance(job, rank or 0, timeout or 30.0) if provenance else client.job(job)
    if json_output:
        from steersman.cli.jsonform import dumps

        click.echo(dumps(detail))
        return
    from steersman.cli import views
    from steersman.cli.render import console, job_page, provenance_page

    console().print(provenance_page(detail) if isinstance(detail, views.Provenance) else job_page(detail))
