"""`steersman detach JOB`: leave a job, which goes on as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from steersman.cli.errors import CommandError, NotFoundError
from steersman.cli.options import json_option

if TYPE_CHECKING:
    from steersman.agent.paths import Places


@click.command("detach")
@click.argument("name", metavar="JOB|PID")
@click.option("--daemon", envvar="STEERSMAN_DAEMON", default="127.0.0.1:7461", show_default=True, help="HOST:PORT.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the step at whose end the probe leaves.",
)
@json_option
def command(name: str, daemon: str, timeout: float, json_output: bool) -> None:
    """Take the probe out of a job of this host, which goes on as it was, with its own learning rate.

    It leaves at the end of the next optimizer step; the job's state is then `detached`.
    """
    from steersman.agent.attach import detach
    from steersman.agent.errors import AgentError, AgentUnavailableError
    from steersman.agent.paths import places
    from steersman.agent.strays import on_paper
    from steersman.cli.client import check_address
    from steersman.cli.jsonform import dumps

    address, where = check_address(daemon), places()
    try:
        left = detach(address, where, name, timeout)
    except AgentUnavailableError as error:
        if any(one.daemon == address for one in on_paper(where)):
            raise CommandError(str(error)) from None
        raise _elsewhere(where, name) or NotFoundError(
            f"no agent runs on this host for the daemon at {daemon}, so no job of it is watched here",
            "jobs are detached on the host where they run; --daemon names another daemon",
        ) from None
    except AgentError as error:
        raise CommandError(str(error)) from None
    if not left:
        raise _elsewhere(where, name) or NotFoundError(
            f"no job or process {name!r} is watched on this host", "steersman agent status lists them"
        )
    if json_output:
        click.echo(dumps({"detached": [{"job": o.job, "attempt_id": o.attempt_id, "left": o.left} for o in left]}))
    late = [one.job for one in left if not one.left]
    if late:
        raise CommandError(
            f"{', '.join(late)} has made no step within {timeout:g} s: the probe leaves at the end of the next one"
        )
    if not json_output:
        for one in left:
            click.echo(f"{one.job} is no longer watched; it goes on as it was")


def _elsewhere(where: Places, name: str) -> NotFoundError | None:
    """What is to be said where the job is watched, but not for the daemon that was named."""
    from steersman.agent.strays import on_paper

    for one in on_paper(where):
        if one.goes_by(name):
            words = f"{one.job} is watched for the daemon at {one.daemon}"
            return NotFoundError(words, f"steersman detach {name} --daemon {one.daemon}")
    return None
