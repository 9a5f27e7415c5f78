"""`steersman rules backtest`: how good rules are on recorded runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from steersman.cli.errors import CommandError
from steersman.cli.rule_files import load_rules, read_whole
from steersman.cli.words import plural

if TYPE_CHECKING:
    from steersman.rules.backtest.backtest import Backtest
    from steersman.rules.backtest.labels import LabelBook
    from steersman.rules.recording import Recording


_PIPED = 200
"""Columns of a table that is not on a terminal."""
_NAMED = 3
"""Labels without a run that are named."""


@click.command("backtest", short_help="Say how good rules are on recorded runs.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--rules",
    "rules",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Rule file or folder, or the word shipped; may be given more than once. Without it the shipped rules.",
)
@click.option(
    "--against",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A second set of rules, compared with the first on the same runs.",
)
@click.option(
    "--labels", type=click.Path(path_type=Path), metavar="CSV", help="What is wrong with each run: id, verdict, onset."
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0.0, 1.0),
    default=0.6,
    show_default=True,
    help="Leave out labels whose author was less sure, where the labels have a column confidence.",
)
@click.option(
    "--healthy", type=click.Path(path_type=Path), metavar="JSON", help="Write the rates on healthy runs here."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    runs: tuple[Path, ...],
    rules: tuple[Path, ...],
    against: tuple[Path, ...],
    labels: Path | None,
    min_confidence: float,
    healthy: Path | None,
    as_json: bool,
) -> None:
    """Replay the RUNS (logs, or folders of them) and say how good rules are on them.

    With --labels: precision, recall, false alarms and delay of each rule and each verdict, with exact 95 % intervals.
    Without: how often each rule fired. The exit code is 3 where a run could not be read.
    """
    from steersman.cli.backtest_page import as_object
    from steersman.rules.backtest.backtest import Backtest
    from steersman.rules.backtest.labels import LabelBook, read_labels

    pack = load_rules(rules, as_json)
    other = load_rules(against, as_json) if against else None
    if healthy is not None and labels is None:
        raise CommandError("nothing says which runs are healthy", "give --labels as well")
    found = (
        []
        if labels is None
        else read_whole(lambda: read_labels(labels), "docs/backtest.md shows a file", as_json, "the labels")
    )
    book = LabelBook([label for label in found if label.confidence >= min_confidence])
    unsure = LabelBook([label for label in found if label.confidence < min_confidence])
    backtest = Backtest(pack, other)
    left_out = _replay(backtest, runs, book, unsure)
    if not backtest.trials:
        raise _nothing(len(backtest.unreadable), left_out, min_confidence)
    if healthy is not None:
        from steersman.rules.backtest.healthy import write

        write(healthy, *backtest.healthy())
    if as_json:
        from steersman.cli.jsonform import dumps

        click.echo(dumps(as_object(backtest)))
    else:
        _print(backtest)
    if backtest.unreadable:
        sys.exit(3)


def _print(backtest: Backtest) -> None:
    from rich.console import Console

    # Whoever pipes wants whole lines.
    from steersman.cli.backtest_page import tables

    console = Console() if sys.stdout.isatty() else Console(width=_PIPED)
    for table in tables(backtest):
        console.print(table)


def _nothing(unreadable: int, left_out: int, min_confidence: float) -> CommandError:
    """Why no run is left."""
    if unreadable and left_out:
        why = f"{unreadable} could not be read, {left_out} left out for a label that is not sure enough"
        return CommandError(f"none of the runs is left: {why}", "give a lower --min-confidence")
    if left_out:
        words = f"all runs were read and left out: their labels are less sure than {min_confidence:g}"
        return CommandError(words, "give a lower --min-confidence")
    if unreadable:
        return CommandError("none of the runs could be read", "what was tried stands above")
    return CommandError("there is no log of a known kind in what is named", "name the files themselves")


def _replay(backtest: object, runs: tuple[Path, ...], book: LabelBook, unsure: LabelBook) -> int:
    """Replay all runs, and say on stderr what was left out; how many were for labels that are not sure enough."""
    from steersman.rules.backtest.backtest import Backtest
    from steersman.rules.backtest.runs import found, read
    from steersman.rules.readers import ReadError

    assert isinstance(backtest, Backtest)
    try:
        logs = found(runs)
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None
    left_out = 0
    with click.progressbar(logs, label="replaying", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        for log in bar:
            recordings: list[Recording] = []
            try:
                recordings = read(log)
            except ReadError as error:
                backtest.unreadable[log.source] = str(error)
            for recording in recordings:
                if unsure.find(recording) is not None:
                    left_out += 1
                else:
                    backtest.add(recording, book.find(recording))
    for source, reason in backtest.unreadable.items():
        click.echo(f"steersman: {source}: {reason}: left out", err=True)
    for rule, times in backtest.stopped().items():
        click.echo(f"steersman: the rule {rule} was too slow, and stopped, on {plural(times, 'run')}", err=True)
    backtest.unmatched = book.unused() + unsure.unused()
    if backtest.unmatched:
        click.echo(f"steersman: {_unmatched(backtest.unmatched)}", err=True)
    if left_out:
        click.echo(f"steersman: {plural(left_out, 'run')} left out whose label is not sure enough", err=True)
    return left_out


def _unmatched(names: Sequence[str]) -> str:
    """One line for all of them: whoever replays some of many runs has labels of all."""
    if len(names) == 1:
        return f"the label {names[0]!r} is of none of the runs"
    shown = ", ".join(repr(name) for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more, which --json names" if len(names) > _NAMED else ""
    return f"{len(names)} labels are of none of the runs: {shown}{more}"
