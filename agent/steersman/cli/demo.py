"""`steersman demo`: a real training job, watched, diagnosed and corrected."""

from __future__ import annotations

import importlib.util
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from steersman.cli.errors import CommandError, ExitCode, MissingExtraError, UsageError
from steersman.cli.terminal import on_terminal
from steersman.demo.judge import GOOD_LR, Judgement, Outcome, closing, judge

if TYPE_CHECKING:
    from steersman.demo.voyage import Voyage

DEFAULT_LR = 0.1
_POLL_SECONDS = 0.25


class _Number(click.FloatRange):
    """A range that calls what is no number so; click calls it no valid float range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, within the range."""
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number.", param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return super().convert(number, param, ctx)


@click.command("demo")
@click.option("--lr", type=_Number(min=0), default=DEFAULT_LR, show_default=True, help="Learning rate of the twins.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True, help="Seed of weights and batches."
)
@click.option(
    "--steps", type=click.IntRange(min=50), default=900, show_default=True, help="Optimizer steps of each run."
)
@click.option(
    "--dashboard/--no-dashboard", default=None, help="Open the dashboard; the default is to do so on a terminal."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object; progress goes to stderr.")
def command(lr: float, seed: int, steps: int, dashboard: bool | None, as_json: bool) -> int:
    """Train one small transformer three times and see what Steersman makes of it.

    Twice with the same learning rate, far too hot unless --lr says otherwise: one twin is only watched, the other is
    steered. A third run has a good learning rate. Exit code 0 only if the cause named was the right one and the
    steered twin ended clearly lower than the other.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", "demo")
    from steersman.demo.voyage import Settings, Voyage

    start = time.monotonic()
    show = (on_terminal() if dashboard is None else dashboard) and not as_json
    if show and not on_terminal():
        raise UsageError(
            "the dashboard needs a terminal: stdin, stdout and stderr must be one", "leave --dashboard out"
        )

    def stamp(sentence: str) -> str:
        return f"{time.monotonic() - start:6.1f}s  {sentence}"

    def say(sentence: str) -> None:
        click.echo(stamp(sentence), err=as_json)

    # A service manager's SIGTERM and a closed terminal's SIGHUP end it as Ctrl-C does: nothing may be left behind.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    with Voyage(Settings(lr, seed, steps), say) as voyage:
        if show:
            _follow_on_dashboard(voyage, stamp)
        _follow(voyage, say, lambda: not voyage.running)
        outcomes = voyage.outcomes()
        failed = [name for name, outcome in outcomes.items() if outcome.final_loss is None]
        for name in failed:
            say(f"{name} ended without a finite loss; its last lines:\n{voyage.tail(name)}")
    judgement = judge(lr, outcomes["hot-watched"], outcomes["hot-steered"], outcomes["good-lr"])
    if as_json:
        runs = {name: asdict(outcome) for name, outcome in outcomes.items()}
        result = {"lr": lr, "good_lr": GOOD_LR, "seed": seed, "runs": runs, "judgement": asdict(judgement)}
        click.echo(json.dumps(result))
    else:
        _print(lr, outcomes, judgement, time.monotonic() - start)
    return ExitCode.DONE if judgement.passed else ExitCode.FAILED


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _follow(voyage: Voyage, say: Callable[[str], None], done: Callable[[], bool]) -> None:
    """Say what is new until `done`, then once more for what came last."""
    told = time.monotonic()
    with voyage.client() as client:
        while True:
            ended = done()
            for name, sentence in voyage.poll(client):
                say(f"{name:12} {sentence}")
            if ended:
                return
            if time.monotonic() - told > 5:
                told = time.monotonic()
                say("  ".join(log.progress for log in voyage.logs.values()))
            time.sleep(_POLL_SECONDS)


def _follow_on_dashboard(voyage: Voyage, stamp: Callable[[str], str]) -> None:
    """Show the dashboard until the runs have ended or somebody quits it; what is new is said when it has closed."""
    from steersman.tui.app import dashboard

    app = dashboard(voyage.daemon)
    held: list[str] = []
    failed: list[CommandError] = []
    closed = threading.Event()

    def follow() -> None:
        try:
            _follow(voyage, lambda s: held.append(stamp(s)), lambda: closed.is_set() or not voyage.running)
        except CommandError as error:
            failed.append(error)
        if not closed.is_set():
            app.call_from_thread(app.exit)

    follower = threading.Thread(target=follow, name="demo-follow")
    follower.start()
    try:
        app.run()
    finally:
        closed.set()
        follower.join()
        for sentence in held:
            click.echo(sentence)
    if app.return_code == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if failed:
        raise failed[0]


def _print(lr: float, outcomes: Mapping[str, Outcome], judgement: Judgement, seconds: float) -> None:
    console = Console(highlight=False)
    table = Table(title=f"one job at LR {lr:g}, watched and steered, and at LR {GOOD_LR:g}", title_justify="left")
    for heading in ("run", "final loss", "diagnosis", "at step", "what was changed"):
        table.add_column(heading, justify="right" if heading in {"final loss", "at step"} else "left")
    for name, outcome in outcomes.items():
        table.add_row(
            name,
            "not finite" if outcome.final_loss is None else f"{outcome.final_loss:.3f}",
            outcome.headline,
            "-" if outcome.diagnosed_step is None else str(outcome.diagnosed_step),
            "\n".join(outcome.adjustments) or "nothing",
        )
    console.print(table)
    for reason in judgement.reasons:
        console.print(f"  {reason}", markup=False)
    console.print(f"{closing(lr, judgement)} It took {seconds:.0f} s.")
