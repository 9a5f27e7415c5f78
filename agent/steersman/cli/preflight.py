"""`steersman preflight PID`: whether attach would work, found out before anything is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from steersman.cli.errors import ExitCode
from steersman.cli.options import json_option
from steersman.cli.words import clean

if TYPE_CHECKING:
    from steersman.agent.preflight import Preflight, Report


def preflight() -> Preflight:
    """The checks, on this host and for this user."""
    from steersman.agent.attach import watched
    from steersman.agent.paths import places
    from steersman.agent.preflight import Preflight

    where = places()
    return Preflight(watched=lambda pid: watched(where, pid))


def as_fields(report: Report) -> dict[str, Any]:
    """A report as docs/cli.md has it."""
    return {
        "pid": report.pid,
        "ok": report.ok,
        "command": report.command or None,
        "python": report.python or None,
        "torch": report.torch or None,
        "way": report.way or None,
        "rank": report.rank,
        "world_size": report.world_size,
        "obstacles": [
            {"check": one.check, "message": one.message, "advice": one.advice or None} for one in report.obstacles
        ],
        "trainers": [{"pid": one.pid, "command": one.command, "rank": one.rank} for one in report.trainers],
    }


def trainers_in_words(report: Report) -> list[str]:
    """What to do where it is not this process that trains but those below it."""
    trainers, lines = report.trainers, []
    if trainers:
        lines.append("below it there train:")
    for one in trainers:
        rank = one.rank
        lines.append(f"  {one.pid}  {f'rank {rank}  ' if rank is not None else ''}{clean(one.command)[:100]}")
    if len(trainers) == 1:
        lines.append(f"use that one: steersman attach {trainers[0].pid}")
    elif report.one_job:
        lines.append(f"take all ranks of the job: steersman attach {report.pid} --all")
    elif trainers:
        lines.append("they are not the ranks of one job; attach to each of them by itself: steersman attach PID")
    if report.foreign:
        lines.append(f"below it there also train, of other users or in other containers: {report.foreign}")
    return lines


@click.command("preflight")
@click.argument("pid", type=click.IntRange(min=1))
@json_option
def command(pid: int, json_output: bool) -> int:
    """Say whether attach would work on a process, and if not, exactly why and what to do. Touches nothing.

    The exit code is 0 where it would, 5 where something stands in the way, 4 where there is no such process.
    """
    from steersman.cli.jsonform import dumps

    report = preflight().look(pid)
    if json_output:
        click.echo(dumps(as_fields(report)))
    elif report.ok:
        rank = f", rank {report.rank} of {report.world_size}" if report.rank is not None and report.world_size else ""
        torch = f"torch {report.torch}" if report.torch else "torch"
        click.echo(f"process {pid} can be entered: Python {report.python}, {torch}{rank}, by {report.way}")
        click.echo(f"  {clean(report.command)[:200]}")
        click.echo(f"  steersman attach {pid}")
    else:
        for one in report.obstacles:
            click.echo(f"{clean(one.message)}")
            if one.advice:
                click.echo(f"  {clean(one.advice)}")
        for line in trainers_in_words(report):
            click.echo(line)
    if report.ok:
        return ExitCode.DONE
    return ExitCode.NOT_FOUND if report.obstacles[0].check == "exists" else ExitCode.REFUSED
