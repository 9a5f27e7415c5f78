"""`steersman ledger show JOB` and `steersman ledger verify JOB`."""

from __future__ import annotations

import re

import click

from steersman.cli.options import daemon_option, json_option
from steersman.cli.views import Ledger


@click.group(name="ledger", help="Read and verify the record of all adjustments.")
def command() -> None:
    """The record of all adjustments."""


@command.command(name="show", help="Print a job's record, oldest first.")
@click.argument("job")
@daemon_option
@json_option
def show(job: str, address: str, json_output: bool) -> None:
    """Print a job's record."""
    from steersman.cli.client import connect

    with connect(address) as client:
        ledger = client.ledger(job)
    if json_output:
        from steersman.cli.jsonform import dumps

        click.echo(dumps({"job": ledger.job, "entries": ledger.entries}))
        return
    if not ledger.entries:
        click.echo(f"nothing has been adjusted in job {job}", err=True)
        return
    from steersman.cli.render import console, ledger_table

    console().print(ledger_table(ledger))


@command.command(
    name="verify",
    help="Check that a job's record is unbroken, and the adjustments are where it says: exit code 0 if so, 1 if not.",
)
@click.argument("job")
@click.option(
    "--head", default="", metavar="HASH", help="A hash that was written down earlier: one of the entries must have it."
)
@daemon_option
@json_option
def verify(job: str, head: str, address: str, json_output: bool) -> None:
    """Check that a job's record is unbroken."""
    from steersman.cli.client import connect
    from steersman.cli.errors import CommandError, UsageError

    head = head.strip().lower()
    if head and not re.fullmatch("[0-9a-f]{64}", head):
        words = "copy it from `steersman ledger verify JOB`, which says the last one"
        raise UsageError(f"--head: {head!r} is no hash of an entry, which has 64 hexadecimal digits", words)
    with connect(address) as client:
        ledger = client.ledger(job)
    problem = broken_link(ledger)
    if not problem and head and all(entry.hash != head for entry in ledger.entries):
        problem = f"no entry has the hash {head}: the one that had it, and what followed, is missing or was replaced"
    if json_output:
        from steersman.cli.jsonform import dumps

        click.echo(
            dumps(
                {"job": ledger.job, "entries": len(ledger.entries), "verified": not problem, "problem": problem or None}
            )
        )
    if problem:
        raise CommandError(
            f"the record of job {job} is broken: {problem}", "compare the store with a backup before trusting it"
        )
    if not json_output:
        last = f", the last hash is {ledger.entries[-1].hash}" if ledger.entries else ""
        click.echo(f"the record of job {job} is unbroken: {len(ledger.entries)} entries{last}")


def broken_link(ledger: Ledger) -> str:
    """Where a chain breaks, in words; empty where it holds.

    The daemon recomputes the hashes; that each entry names the one before it is checked here too, so that a daemon's
    word is not all there is.
    """
    before = "0" * 64
    for place, entry in enumerate(ledger.entries, start=1):
        if entry.seq != place:
            return f"entry {place} is missing (the next is {entry.seq})"
        if entry.prev != before:
            return f"entry {entry.seq} does not follow from the one before it"
        before = entry.hash
    return "" if ledger.verified else ledger.problem or "the daemon could not verify it"
