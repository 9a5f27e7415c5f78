"""What approve, reject and revert share: finding the adjustment that is meant, and saying what became of it."""

from __future__ import annotations

import click

from steersman.cli import plan, views
from steersman.cli.client import OperatorClient, not_found
from steersman.cli.errors import NotFoundError, RefusedError

_SHORTEST_PREFIX = 4


def by_id(client: OperatorClient, target: str) -> views.Adjustment | None:
    """The adjustment with this id, or with the one id that begins so; None where `target` is no id.

    Raises:
        NotFoundError: several ids begin so.
    """
    known = client.adjustments()
    for adjustment in known:
        if adjustment.id == target:
            return adjustment
    if len(target) < _SHORTEST_PREFIX or any(a.job == target for a in known):
        return None
    close = [a for a in known if a.id.startswith(target)]
    if len(close) > 1:
        raise NotFoundError(f"{len(close)} adjustments begin with {target!r}", "write more of the id")
    return close[0] if close else None


def waiting_one(client: OperatorClient, target: str) -> views.Adjustment:
    """The adjustment meant by an id, or the waiting one of a job.

    Raises:
        NotFoundError: there is none.
    """
    adjustment = by_id(client, target)
    if adjustment is None:
        adjustment = plan.waiting(_of_job(client, target))
    if adjustment is None:
        raise NotFoundError(
            f"no adjustment of job {target!r} waits for a decision", f"`steersman show {target}` lists its adjustments"
        )
    return adjustment


def revertible_one(client: OperatorClient, target: str) -> views.Adjustment:
    """The adjustment meant by an id, or the newest in force of a job.

    Raises:
        NotFoundError: there is none.
    """
    adjustment = by_id(client, target)
    if adjustment is None:
        adjustment = plan.revertible(_of_job(client, target))
    if adjustment is None:
        raise NotFoundError(
            f"no adjustment of job {target!r} is in force", f"`steersman show {target}` lists its adjustments"
        )
    return adjustment


def _of_job(client: OperatorClient, target: str) -> tuple[views.Adjustment, ...]:
    names = [job.name for job in client.jobs(ended=True)]
    if target not in names:
        raise not_found(target, names, "there is no job and no adjustment")
    return client.job(target).adjustments


def report(adjustment: views.Adjustment, json_output: bool) -> None:
    """Says where the adjustment stands now, on stdout."""
    if json_output:
        from steersman.cli.jsonform import dumps

        click.echo(dumps({"adjustment": adjustment}))
        return
    from steersman.cli.render import read_back, what

    line = f"{adjustment.job}: {what(adjustment.kind, adjustment.value, adjustment.over_steps)} is {adjustment.state}"
    if adjustment.applied_step is not None and adjustment.in_force:
        line += f" at step {adjustment.applied_step:,}"
        if said := read_back(adjustment.ranks):
            line += f", read back {said}"
    click.echo(line + (f" ({adjustment.detail})" if adjustment.detail else "") + f"  [{adjustment.id}]")


def refuse_if_refused(adjustment: views.Adjustment) -> None:
    """Raises `RefusedError` where the adjustment ended as refused or expired."""
    if adjustment.state in ("refused", "expired"):
        raise RefusedError(
            f"adjustment {adjustment.id} of job {adjustment.job} was {adjustment.state}: "
            f"{adjustment.detail or adjustment.reason or 'no reason given'}"
        )
