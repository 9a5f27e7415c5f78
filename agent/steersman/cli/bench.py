"""`steersman bench`: what Steersman costs, measured on the user's own machine."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import platform
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import click

from steersman.cli.errors import CommandError, ExitCode, UsageError
from steersman.cli.options import json_option

if TYPE_CHECKING:
    from steersman.agent.measure.figures import Added
    from steersman.agent.measure.overhead import Overhead
    from steersman.agent.measure.training import Case

_SPEAK_EVERY = 5.0  # seconds, where stderr is no terminal


@click.group()
def command() -> None:
    """Measure on this machine what Steersman costs a training job."""


@command.command("probe")
@click.option(
    "--device",
    default="",
    metavar="DEVICE",
    help="Where the measured jobs train: cpu, cuda, cuda:1. The default is cuda where there is one, else cpu.",
)
@click.option(
    "--case",
    "names",
    type=click.Choice(["small", "large"]),
    multiple=True,
    help="Only this job; the default is a small one, of about 1 ms a step, and a large one, of about 20 ms.",
)
@click.option(
    "--step-ms",
    "step_ms",
    type=click.FloatRange(min=0.1, max=10_000),
    multiple=True,
    metavar="MILLISECONDS",
    help="A job with about such a step instead, like your own; may be given more than once.",
)
@click.option(
    "--blocks",
    type=click.IntRange(min=2, max=100_000),
    default=30,
    show_default=True,
    help="Blocks of steps of each way to be measured. More take longer and are surer.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1, max=4096),
    default=1,
    show_default=True,
    help="Threads of torch; with one, other work on the machine disturbs least.",
)
@json_option
def probe(
    device: str, names: tuple[str, ...], step_ms: tuple[float, ...], blocks: int, threads: int, json_output: bool
) -> int:
    """Measure what the probe adds to an optimizer step, on this machine and with this torch.

    Needs no daemon and leaves nothing behind. How long it takes is said first; Ctrl-C ends it at any time. The exit
    code is 1 where rows did not arrive, weights differed, or the probe made the host wait for its device.
    """
    if importlib.util.find_spec("torch") is None:
        raise CommandError(
            f"what is measured is a training job, and there is no torch for {sys.executable}",
            "install Steersman beside the torch that you train with, or here: pip install torch",
        )
    if names and step_ms:
        raise UsageError("--case and --step-ms exclude each other", "the cases are steps of about 1 and 20 ms")
    # A service manager's or a timeout's SIGTERM ends it as Ctrl-C does: nothing may be left behind.
    signal.signal(signal.SIGTERM, _interrupt)
    click.echo("loading torch", err=True)
    import torch

    from steersman.agent.errors import AgentError
    from steersman.agent.measure.training import CASES, fitted

    torch.set_num_threads(threads)
    device = _device(device)
    if step_ms or device != "cpu":
        click.echo("looking for jobs with such steps", err=True)
        wanted = {f"{ms:g} ms": ms for ms in step_ms} or {n: {"small": 1.0, "large": 20.0}[n] for n in names or CASES}
        cases = [fitted(ms, device, name) for name, ms in wanted.items()]
    else:
        cases = [CASES[name] for name in dict.fromkeys(names or CASES)]
    try:
        reports = _measured(cases, device, blocks)
    except AgentError as error:
        raise CommandError(str(error)) from None
    where = {
        "steersman": importlib.metadata.version("steersman"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "threads": threads,
    }
    if json_output:
        from steersman.cli.jsonform import dumps

        click.echo(dumps({**where, "cases": reports}))
    else:
        _print(reports, where)
    kept = all(report.bit_identical and not report.waits for report in reports)
    return ExitCode.DONE if kept else ExitCode.FAILED


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _device(wanted: str) -> str:
    import torch

    if not wanted:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(wanted).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"--device {wanted}: there is cpu, cuda and cuda:N", "the probe knows no other devices yet")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = torch.device(wanted).index or 0
        if index >= count:
            devices = f"{count or 'no'} CUDA device{'s' * (count != 1)}"
            raise UsageError(
                f"--device {wanted}: torch {torch.__version__} sees {devices} here",
                "" if count else "on the CPU: steersman bench probe --device cpu",
            )
        torch.cuda.set_device(index)
    return wanted


def _measured(cases: list[Case], device: str, blocks: int) -> list[Overhead]:
    from steersman.agent.measure.ears import Ears
    from steersman.agent.measure.overhead import measure, steps_of
    from steersman.agent.measure.training import typical_step

    # The probes that are put in and taken off, and steps that they add to, come on top of the bare steps.
    seconds = {case.name: 1.2 * steps_of(case, blocks) * typical_step(case, device) + 0.01 * blocks for case in cases}
    click.echo(f"this takes about {_duration(sum(seconds.values()))}; Ctrl-C ends it", err=True)
    reports = []
    with Ears() as ears, _progress(sum(seconds.values())) as progress:
        for case in cases:
            each = seconds[case.name] / steps_of(case, blocks)
            progress.at(case.name)
            reports.append(
                measure(case, device, blocks, ears, lambda steps, each=each: progress.went(steps * each))  # type: ignore[misc]
            )
    return reports


def _duration(seconds: float) -> str:
    """In words, as exact as an estimate is.

    Example:
        >>> _duration(3.2), _duration(48), _duration(130)
        ('5 s', '50 s', '2 min 10 s')
    """
    tens = max(5, round(seconds / 5) * 5)
    return f"{tens} s" if tens < 100 else f"{tens // 60} min {tens % 60} s"


class _Progress(Protocol):
    def at(self, name: str) -> None:
        """A case begins."""

    def went(self, seconds: float) -> None:
        """So much of the estimate is done."""


class _Lines:
    """For logs: a line now and then."""

    def __init__(self, total: float) -> None:
        self._total = total
        self._gone = 0.0
        self._name = ""
        self._began = self._spoke = time.monotonic()

    def at(self, name: str) -> None:
        self._name = name
        click.echo(f"{name}: measuring", err=True)

    def went(self, seconds: float) -> None:
        self._gone += seconds
        now = time.monotonic()
        if now - self._spoke >= _SPEAK_EVERY:
            self._spoke = now
            share = min(self._gone / self._total, 1.0)
            left = (now - self._began) * (1 / share - 1)
            click.echo(f"{self._name}: {share:.0%}, about {_duration(left)} left", err=True)


class _Bar:
    """For people."""

    def __init__(self, bar: Any, total: float) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total)

    def at(self, name: str) -> None:
        self._bar.update(self._task, description=name)

    def went(self, seconds: float) -> None:
        self._bar.advance(self._task, seconds)


@contextlib.contextmanager
def _progress(total: float) -> Iterator[_Progress]:
    if not sys.stderr.isatty():
        yield _Lines(total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    # Drawing is a thread's work and would be measured too: drawn when there is news, and by nobody else.
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:

        class Drawn(_Bar):
            _drawn = 0.0

            def went(self, seconds: float) -> None:
                super().went(seconds)
                if time.monotonic() - self._drawn > 0.2:
                    self._drawn = time.monotonic()
                    bar.refresh()

        yield Drawn(bar, total)


def _print(reports: list[Overhead], where: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for report in reports:
        table = Table(
            title=f"{report.case}: a bare step takes {report.step_ms:.2f} ms, in {report.blocks} blocks",
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            padding=(0, 0, 0, 1),
        )
        table.add_column("added to a step")
        for heading in ("µs", "quartiles", "undisturbed", "%", "quartiles"):
            table.add_column(heading, justify="right")
        figures: list[tuple[str, Added | None]] = [
            ("row without norm", report.without_norm),
            ("with norm and direction", report.whole),
            ("thinned by the budget", report.kept),
            ("patch on backward", report.backward),
        ]
        for name, figure in figures:
            table.add_row(name, *(["-"] * 5 if figure is None else _cells(figure)))
        console.print(table)
        for line in _said(report):
            console.print(f"  {line}", markup=False)
        console.print()
    threads = f"{where['threads']} thread{'s' * (where['threads'] != 1)}"
    console.print(f"{where['device_name'] or where['device']}, {threads}, torch {where['torch']}", markup=False)


def _cells(figure: Added) -> list[str]:
    (first, third), (low, high) = figure.quartiles_us, figure.quartiles_percent
    return [
        f"{figure.us:.1f}",
        f"{first:.0f} to {third:.0f}",
        f"{figure.low_us:.1f}",
        f"{figure.percent:.2f}",
        f"{low:.1f} to {high:.1f}",
    ]


def _said(report: Overhead) -> list[str]:
    from steersman.agent.measure.overhead import COUNTED

    lines = ["device synchronisations added to a step: 0"]
    if report.waits:
        named = ", ".join(f"{name} {count:+d}" for name, count in sorted(report.waits.items()))
        lines = [f"device synchronisations ADDED in {COUNTED} steps: {named}"]
    equal = "equal to the last bit" if report.bit_identical else "NOT EQUAL"
    lines.append(f"weights with the probe and without it: {equal}")
    if report.kept is not None:
        rows = "" if report.rows_every == 1 else f", rows every {report.rows_every}"
        lines.append(f"the budget lets norms be taken every {report.norm_every} steps here{rows}")
    lines.append(f"{report.rows} of {report.steps} rows and {report.norms} norms arrived")
    if report.whole.quartiles_us[0] < 0:
        lines.append("the machine's own unrest is greater than what is added: read 'undisturbed', or try more --blocks")
    return lines
