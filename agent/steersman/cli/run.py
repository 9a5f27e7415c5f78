"""`steersman run`: a training command under Steersman, with no change to its code."""

from __future__ import annotations

import click

from steersman.cli.errors import UsageError

_POLICIES = ("observe", "advise", "approve", "auto")


@click.command("run", context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
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
@click.option("--quiet", is_flag=True, help="Say nothing but what went wrong with the command itself.")
@click.argument("words", nargs=-1, required=False, metavar="COMMAND…", type=click.UNPROCESSED)
def command(
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
    quiet: bool,
    words: tuple[str, ...],
) -> int:
    """Run a training command under Steersman, with no change to its code.

    The exit code is the command's own. With no daemon the job runs unharmed, and its rows wait on disk.

    \b
    steersman run -- python train.py --lr 0.1
    steersman run --policy auto --job big -- torchrun --nproc-per-node 8 train.py
    """  # noqa: D301 - click wants the character itself
    from steersman.agent import Limits
    from steersman.agent.jobname import check_job_name
    from steersman.agent.launch import Launch, end_like, job_name, run
    from steersman.agent.paths import places
    from steersman.cli.client import check_address

    if not words:
        raise UsageError("there is no command to run", "write it after --, as in: steersman run -- python train.py")
    try:
        check_job_name(job)
    except ValueError as error:
        raise UsageError(
            f"--job: {error}", "write a name, as in: steersman run --job NAME -- python train.py"
        ) from None
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
    launch = Launch(words, check_address(daemon), job or job_name(words), policy, limits, budget=budget * 1e-6)

    def say(line: str) -> None:
        if not quiet:
            click.echo(f"steersman: {line}", err=True)

    return end_like(run(launch, places(), say))
