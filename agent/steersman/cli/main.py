"""The `steersman` command: one file a subcommand, loaded when it runs."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from typing import NoReturn

import click

from steersman.cli.errors import CommandError, ExitCode, MissingExtraError
from steersman.cli.plain import keep_to_encodings

# name -> (module, extra that brings what it needs, one line of help)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "serve": ("steersman.cli.serve", "monitor", "Run the daemon."),
    "run": ("steersman.cli.run", "", "Run a training command under Steersman, with no change to its code."),
    "attach": ("steersman.cli.attach", "", "Watch a training job that already runs."),
    "preflight": ("steersman.cli.preflight", "", "Say whether attach would work on a process, and if not, why."),
    "detach": ("steersman.cli.detach", "", "Leave a job, which goes on as it was."),
    "top": ("steersman.cli.top", "monitor", "Watch all jobs in a terminal dashboard."),
    "jobs": ("steersman.cli.jobs", "", "List jobs."),
    "show": ("steersman.cli.show", "", "Show one job: diagnosis, findings, adjustments."),
    "series": ("steersman.cli.series", "", "Print a series of a job, or list what there is."),
    "adjust": ("steersman.cli.adjust", "", "Change a job's learning rate."),
    "approve": ("steersman.cli.approve", "", "Approve a proposed adjustment."),
    "reject": ("steersman.cli.reject", "", "Reject a proposed adjustment."),
    "revert": ("steersman.cli.revert", "", "Take an adjustment back."),
    "ledger": ("steersman.cli.ledger", "", "Read and verify the record of all adjustments."),
    "diagnose": ("steersman.cli.diagnose", "diagnose", "Say what was wrong with runs that have been logged."),
    "rules": ("steersman.cli.rules", "diagnose", "List, check, test and judge rule files."),
    "agent": ("steersman.cli.agent", "", "Say how the agent of this host stands, or stop it."),
    "bench": ("steersman.cli.bench", "", "Measure on this machine what Steersman costs a training job."),
    "demo": ("steersman.cli.demo", "demo", "Watch a real training job being diagnosed and corrected."),
}

# top-level modules that an extra brings, for a clear word when they are missing
_EXTRA_MODULES = {
    "alembic",
    "cel_expr_python",
    "grpc_health",
    "grpc_reflection",
    "numpy",
    "prometheus_client",
    "yaml",
    "scipy",
    "sqlalchemy",
    "structlog",
    "textual",
    "zstandard",
    "torch",
    "psycopg",
}


class LazyGroup(click.Group):
    """A group that imports a subcommand's module only when that subcommand is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order a newcomer would meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one subcommand; `command` in its module."""
        if cmd_name not in COMMANDS:
            return None
        module, extra, _ = COMMANDS[cmd_name]
        try:
            command = importlib.import_module(module).command
        except ModuleNotFoundError as error:
            top = (error.name or "").partition(".")[0]
            if extra and top in _EXTRA_MODULES:
                raise MissingExtraError(top, extra) from None
            raise
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(importlib.metadata.version("steersman"), prog_name="steersman")
def command() -> None:
    """Steersman watches training jobs and keeps a hand on the learning rate."""


def main() -> NoReturn:
    """Entry point: runs the command and turns what goes wrong into a sentence and an exit code."""
    keep_to_encodings()
    try:
        code = command.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else ExitCode.DONE)
    except CommandError as error:
        click.echo(f"steersman: {error.message}", err=True)
        if error.hint:
            click.echo(f"  {error.hint}", err=True)
        sys.exit(error.code)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.USAGE if isinstance(error, click.UsageError) else ExitCode.FAILED)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of a pipe has gone (`| head`): nothing is wrong, but Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.DONE)
