"""`steersman attach PID`: watch a job that already runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from steersman.cli.errors import CommandError, NotFoundError, RefusedError, UnreachableError, UsageError
from steersman.cli.options import json_option
from steersman.cli.words import clean

if TYPE_CHECKING:
    from steersman.agent.preflight import Preflight, Report
    from steersman.agent.target import Target

_POLICIES = ("observe", "advise", "approve", "auto")


@click.command("attach")
@click.argument("pid", type=click.IntRange(min=1))
@click.option("--daemon", envvar="STEERSMAN_DAEMON", default="127.0.0.1:7461", show_default=True, help="HOST:PORT.")
@click.option("--job", default="", help="A name for the job; derived from the script's name.")
@click.option(
    "--policy", type=click.Choice(_POLICIES), default="observe", show_default=True, help="What the daemon may do alone."
)
@click.option("--min-factor", type=float, help="Lowest total factor on the job's own LR (1/16).")
@click.option("--max-factor", type=float, help="Highest total factor on the job's own LR (16).")
@click.option("--min-lr", type=float, help="Lowest LR any group may be brought down to.")
@click.option("--max-lr", type=float, help="Highest LR any group may be brought up to.")
@click.option("--max-adjustments", type=int, help="Adjustments that the daemon may make alone (3).")
@click.option("--cooldown", "cooldown_steps", type=int, help="Steps between two of them (200).")
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    default=100.0,
    show_default=True,
    metavar="MICROSECONDS",
    help="What the probe may always cost a step. Beyond this and 1 % of the step it measures less often, and says so.",
)
@click.option(
    "--all", "everyone", is_flag=True, help="Take all processes below PID that train, as the ranks of one job."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the process to take the probe in, and for its next step.",
)
@json_option
def command(
    pid: int,
    daemon: str,
    job: str,
    policy: str,
    min_factor: float | None,
    max_factor: float | None,
    min_lr: float | None,
    max_lr: float | None,
    max_adjustments: int | None,
    cooldown_steps: int | None,
    budget: float,
    everyone: bool,
    timeout: float,
    json_output: bool,
) -> None:
    """Watch a training job that already runs, with no preparation at all.

    Returns when the first sample has arrived. Where it cannot be done it says why before anything is touched, as
    `steersman preflight PID` does.

    \b
    steersman attach 4711
    steersman attach 4700 --all --job big      # 4700 is torchrun: all ranks below it
    """  # noqa: D301 - click wants the character itself
    from steersman.agent import Limits
    from steersman.agent.attach import (
        Attacher,
        AttachError,
        DaemonUnreachableError,
        EndedError,
        NoStepError,
        PatienceError,
        PreflightError,
        Wish,
    )
    from steersman.agent.errors import AgentError
    from steersman.agent.jobname import check_job_name
    from steersman.agent.launch import job_name
    from steersman.agent.paths import places
    from steersman.agent.target import Target
    from steersman.cli.client import check_address
    from steersman.cli.jsonform import dumps
    from steersman.cli.preflight import preflight

    try:
        check_job_name(job)
    except ValueError as error:
        raise UsageError(f"--job: {error}", "write a name, as in: steersman attach PID --job NAME") from None
    given = {
        "min_factor": min_factor,
        "max_factor": max_factor,
        "min_lr": min_lr,
        "max_lr": max_lr,
        "max_adjustments": max_adjustments,
        "cooldown_steps": cooldown_steps,
    }
    try:
        limits = Limits.of({name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise UsageError(str(error)) from None
    looks = preflight()
    pids = _ranks(pid, looks) if everyone else [pid]
    words = Target(pids[0]).words
    name = job or (job_name(words) if words else "job")
    wish = Wish(check_address(daemon), name, policy, limits, budget * 1e-6, patience=timeout)
    try:
        attached = Attacher(wish, places(), lambda line: click.echo(f"steersman: {line}", err=True), looks).attach(pids)
    except PreflightError as error:
        raise _in_words(error.report) from None
    except DaemonUnreachableError as error:
        raise UnreachableError(str(error), "start one: steersman serve") from None
    except NoStepError as error:
        raise CommandError(str(error), f"steersman detach {pid} takes it out again") from None
    except EndedError as error:
        raise NotFoundError(str(error), "`steersman run -- COMMAND` watches a job from its first step on") from None
    except PatienceError as error:
        longer = max(2 * timeout, 10)
        raise CommandError(str(error), f"the same command with `--timeout {longer:g}` waits longer") from None
    except AttachError as error:
        raise CommandError(str(error), f"steersman preflight {pid} says what it would take") from None
    except AgentError as error:
        raise CommandError(str(error)) from None
    if json_output:
        ranks = [{"pid": one.pid, "stopped_seconds": one.stopped, "val_loss": one.losses} for one in attached.ranks]
        fields = {"job": attached.job, "attempt_id": attached.attempt_id, "ranks": ranks, "seconds": attached.seconds}
        click.echo(dumps(fields))
        return
    what = f"process {pid}" if len(pids) == 1 else f"{len(pids)} processes"
    click.echo(f"{what} watched as {attached.job}: first sample after {attached.seconds:.1f} s")
    click.echo(f"  steersman show {attached.job}")
    click.echo(f"  steersman detach {attached.job}")


def _ranks(pid: int, looks: Preflight) -> list[int]:
    """The processes of a job below a launcher, or beside one of its ranks, by rank."""
    from steersman.agent.target import Target, by_rank

    top = Target(pid)
    if not top.exists:
        raise _in_words(looks.look(pid))
    trainers = _trainers(top, looks)
    if not trainers and top.rank is not None:
        top = Target(top.parent)
        trainers = _trainers(top, looks)
    if not trainers:
        return [pid]
    numbers = {one.pid: one.rank for one in trainers}
    if top.rank is None and top.trains and all(one.number("RANK") is None for one in trainers):
        # One that starts the others and trains as well, as under Lightning, is the first of them.
        numbers[top.pid] = 0
    ranks = by_rank(numbers)
    if not ranks:
        known = ", ".join(map(str, sorted(numbers)))
        raise RefusedError(
            f"processes {known} are not the ranks of one job: their environment has no RANK, or the same one twice",
            "attach to each of them by itself",
        )
    return ranks


def _trainers(top: Target, looks: Preflight) -> list[Target]:
    return [one for one in top.trainers() if looks.ours(one)]


def _in_words(report: Report) -> CommandError:
    from steersman.cli.preflight import trainers_in_words

    first, *others = report.obstacles
    lines = [first.advice, *(f"{one.message}: {one.advice}" for one in others), *trainers_in_words(report)]
    hint = "\n  ".join(clean(line) for line in lines if line)
    if first.check == "exists":
        return NotFoundError(first.message, hint)
    return RefusedError(clean(first.message), hint)
