"""`steersman agent`: how the agent of this host stands, and stopping it."""

from __future__ import annotations

import json
from typing import Any

import click

from steersman.cli.errors import CommandError, NotFoundError


def _ask(daemon: str, what: str) -> dict[str, Any]:
    from steersman.agent.caller import Caller
    from steersman.agent.errors import AgentUnavailableError
    from steersman.agent.paths import places
    from steersman.agent.probe import packet
    from steersman.cli.client import check_address

    where = places()
    caller = Caller(where.socket(check_address(daemon)))
    try:
        caller.connect()
    except AgentUnavailableError:
        raise NotFoundError(
            f"no agent runs on this host for the daemon at {daemon}", "`steersman run` and `watch` start one on demand"
        ) from None
    try:
        return caller.ask(packet.QUERY, {"what": what})
    except AgentUnavailableError as error:
        raise CommandError(str(error), f"its log is {where.log(daemon)}") from None
    finally:
        caller.close()


def _why(last_error: str) -> str:
    """The link's last error in words; what could not be reached comes from it as `CODE: what gRPC says`."""
    from steersman.cli.client import why_unreachable

    code, _, detail = last_error.partition(": ")
    if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        return f"no daemon answers there: {why_unreachable(detail)}"
    return last_error or "not tried yet"


_DAEMON = click.option(
    "--daemon", envvar="STEERSMAN_DAEMON", default="127.0.0.1:7461", show_default=True, help="HOST:PORT."
)


@click.group("agent")
def command() -> None:
    """Say how the agent of this host stands, or stop it."""


@command.command("status")
@_DAEMON
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def status(daemon: str, as_json: bool) -> None:
    """Say how the agent of this host stands."""
    found = _ask(daemon, "status")
    if as_json:
        click.echo(json.dumps(found))
        return
    link = "connected" if found["connected"] else f"not connected ({_why(found['last_error'])})"
    click.echo(f"agent {found['pid']}, daemon {found['daemon']}: {link}")
    click.echo(f"spool: {found['spool_bytes']} bytes in {found['spool_folder']}")
    for job in found["jobs"]:
        state = "ended" if job["ended"] else "runs"
        refused = f", refused by the daemon: {job['refused']}" if job["refused"] else ""
        click.echo(f"  {job['job']}: {state}, {job['rows']} rows, {job['unsent_rows']} not yet durable{refused}")


@command.command("stop")
@_DAEMON
def stop(daemon: str) -> None:
    """Stop the agent; jobs run on, and what is not delivered stays on disk for the next agent."""
    _ask(daemon, "stop")
    click.echo("the agent stops", err=True)
