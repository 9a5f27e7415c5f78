"""`steersman adjust JOB KIND …`."""

from __future__ import annotations

import re
import sys

import click

from steersman.cli.errors import CommandError, RefusedError, UsageError
from steersman.cli.options import daemon_option, json_option, wait_options

_KINDS = ("scale", "set", "release")
_SETTLED = frozenset({"applied", "probation", "kept", "reverted", "refused", "expired"})

_HELP = """Change a job's learning rate, within the limits of its owner.

\b
  steersman adjust JOB scale 0.5      half of what is in force now
  steersman adjust JOB set 3e-4       this LR for the first group, the others in proportion
  steersman adjust JOB release        back to the job's own schedule
"""


class _Command(click.Command):
    """Takes -1 for a value, which is then refused, and not for an option that nobody knows."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments, a negative number behind a `--` so that it is one of them."""
        for at, word in enumerate(args):
            if at and args[at - 1] in _KINDS and re.match(r"-(\.?\d|inf)", word):
                args = [*args[:at], *args[at + 1 :], "--", word]
                break
        return super().parse_args(ctx, args)


@click.command(name="adjust", help=_HELP, cls=_Command)
@click.argument("job")
@click.argument("kind", metavar="KIND", type=click.Choice(_KINDS))
@click.argument("value", required=False, metavar="[VALUE]")
@click.option(
    "--over",
    "over_steps",
    type=click.IntRange(0, 1_000_000),
    default=None,
    metavar="STEPS",
    help="Ramp over so many steps; 0 is at once.",
)
@click.option("--reason", default="", help="Why, for the ledger.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Check with the daemon and say what would be done; do nothing.")
@wait_options
@daemon_option
@json_option
def command(
    job: str,
    kind: str,
    value: str | None,
    over_steps: int | None,
    reason: str,
    yes: bool,
    dry_run: bool,
    wait: bool,
    timeout: float,
    address: str,
    json_output: bool,
) -> None:
    """Change a job's learning rate."""
    from steersman.cli.client import connect
    from steersman.cli.decide import refuse_if_refused, report
    from steersman.cli.plan import plan
    from steersman.cli.wait import wait_until

    amount = _amount(kind, value)
    if not (dry_run or yes) and not _interactive():
        raise UsageError("adjust asks before it acts, and there is no terminal to ask on", "add --yes, or --dry-run")
    over = over_steps or 0
    with connect(address) as client:
        state = client.job(job).job
        trial = client.propose(job, kind, amount, over, reason, dry_run=True)
        refuse_if_refused(trial)
        preview = plan(state, kind, amount, trial.over_steps, trial.total_factor)
        if dry_run:
            if json_output:
                report(trial, json_output)
            else:
                click.echo("\n".join([f"job {state.name}, step {state.step}: would", *preview.sentences()]))
            return
        if not yes or not json_output:
            click.echo("\n".join([f"job {state.name}, step {state.step}:", *preview.sentences()]), err=True)
        if not yes and not click.confirm("Change it?", err=True):
            raise RefusedError("nothing was changed")
        adjustment = client.propose(job, kind, amount, over, reason)
        if wait:
            adjustment = wait_until(client, adjustment, timeout, lambda a: a.state in _SETTLED)
    report(adjustment, json_output)
    refuse_if_refused(adjustment)
    if wait and adjustment.state not in _SETTLED:
        raise CommandError(
            f"adjustment {adjustment.id} is still {adjustment.state} after {timeout:g} s",
            f"it may yet be laid on: `steersman show {job}` says; `steersman revert {adjustment.id}` takes it back",
        )


def _interactive() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _amount(kind: str, value: str | None) -> float | None:
    """VALUE as a number, checked as far as it can be without the daemon."""
    import math

    if kind == "release":
        if value is not None:
            raise UsageError(f"release takes no value, {value!r} was given")
        return None
    example = "0.5" if kind == "scale" else "3e-4"
    if value is None:
        raise UsageError(f"{kind} needs a value", f"as in `steersman adjust JOB {kind} {example}`")
    try:
        amount = float(value)
    except ValueError:
        raise UsageError(f"{value!r} is no number", f"as in `steersman adjust JOB {kind} {example}`") from None
    if not math.isfinite(amount) or amount <= 0:
        raise UsageError(f"{kind} needs a positive number, not {value}")
    return amount
