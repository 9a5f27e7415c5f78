"""`steersman jobs`."""

from __future__ import annotations

import click

from steersman.cli.options import daemon_option, json_option


@click.command(name="jobs", help="List jobs: those that run, or all.")
@click.option("--all", "ended", is_flag=True, help="Also those that have ended.")
@daemon_option
@json_option
def command(ended: bool, address: str, json_output: bool) -> None:
    """List jobs."""
    from steersman.agent.paths import places
    from steersman.agent.strays import recall
    from steersman.cli.client import connect

    recall(places())
    with connect(address) as client:
        jobs = client.jobs(ended)
    if json_output:
        from steersman.cli.jsonform import dumps

        click.echo(dumps({"jobs": jobs}))
        return
    if not jobs:
        what = "no job is known" if ended else "no job runs; `steersman jobs --all` lists those that have ended"
        click.echo(f"{what}\nstart one with `steersman run -- python train.py`", err=True)
        return
    from steersman.cli.render import console, jobs_table

    screen = console()
    screen.print(jobs_table(jobs, screen.width))
