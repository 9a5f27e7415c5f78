"""`steersman revert ID|JOB`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from steersman.cli.errors import CommandError, RefusedError
from steersman.cli.options import daemon_option, json_option, wait_options

if TYPE_CHECKING:
    from steersman.cli import views

_GONE = frozenset({"reverted", "refused", "expired"})
# No state says that the job would not: the adjustment stays in force, and the daemon says this of it.
_FAILED = "could not be taken back"


@click.command(name="revert", help="Take an adjustment back, by its id, or the newest in force of a job.")
@click.argument("target", metavar="ID|JOB")
@click.option("--reason", default="", help="Why, for the ledger.")
@wait_options
@daemon_option
@json_option
def command(target: str, reason: str, wait: bool, timeout: float, address: str, json_output: bool) -> None:
    """Take an adjustment back."""
    from steersman.cli.client import connect
    from steersman.cli.decide import report, revertible_one
    from steersman.cli.wait import wait_until

    with connect(address) as client:
        adjustment = client.revert(revertible_one(client, target).id, reason)
        if wait:
            adjustment = wait_until(client, adjustment, timeout, lambda a: a.state in _GONE or _failed(a))
    report(adjustment, json_output)
    if not wait or adjustment.state in _GONE:
        return
    if _failed(adjustment):
        raise RefusedError(f"adjustment {adjustment.id} of job {adjustment.job} {adjustment.detail}")
    raise CommandError(
        f"adjustment {adjustment.id} was not taken back within {timeout:g} s, or before its job ended",
        f"`steersman show {adjustment.job}` says how it stands",
    )


def _failed(adjustment: views.Adjustment) -> bool:
    return adjustment.detail.startswith(_FAILED)
