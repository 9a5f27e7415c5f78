"""`steersman diagnose`: what was wrong with runs that somebody wrote down."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from steersman.cli.errors import UsageError
from steersman.cli.report.gather import Say, outcomes
from steersman.cli.report.outcome import Outcome
from steersman.cli.report.passed_over import PassedOver, lines
from steersman.cli.rule_files import places
from steersman.rules.packs import Pack, PackError, load_pack
from steersman.rules.readers import FORMATS, Wishes
from steersman.rules.readers.naming import ROLES, is_role

_FORMATS = "\n".join(f"  {form.name:16}{form.text}" for form in FORMATS)

HELP = f"""Say what was wrong with the runs logged in PATHS.

A file is recognised by what is in it; a folder is searched. Exit code: 0 no critical finding, 1 some, 2 usage,
3 a file could not be read (1 goes before 3).

\b
Formats:
{_FORMATS}
"""


@click.command(help=HELP)
# What may not be read is said of that path, and stops none of the others: click would end here.
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line and run; see docs/diagnose.md.")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write one self-contained page."
)
@click.option("--all", "show_all", is_flag=True, help="The report of every run, also of those without findings.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="SERIES=NAME",
    help="What the log calls a series, e.g. loss=train/ce or val_loss/wiki=ppl_wiki; SERIES= leaves out.",
)
@click.option(
    "--planned-steps", type=click.IntRange(1), default=None, metavar="N", help="How many steps the job was to take."
)
@click.option("--optimizer", default="", metavar="NAME", help="Class name of the optimizer, e.g. AdamW.")
@click.option(
    "--format",
    "form",
    default=None,
    type=click.Choice([f.name for f in FORMATS]),
    metavar="NAME",
    help="The format, where it is not recognised.",
)
@click.option(
    "--rules",
    "rules",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Rule files, or folders of them, in place of the shipped ones, which the word shipped adds. Repeatable.",
)
def command(
    paths: tuple[Path, ...],
    as_json: bool,
    html: Path | None,
    show_all: bool,
    columns: tuple[str, ...],
    planned_steps: int | None,
    optimizer: str,
    form: str | None,
    rules: tuple[Path, ...],
) -> None:
    """Diagnose logged runs."""
    wishes = Wishes(_told(columns), planned_steps or 0, optimizer, form or "")
    pack = _pack(rules)
    found: list[Outcome] = []
    passed: list[PassedOver] = []
    with _progress(len(paths)) as say:
        for outcome in outcomes(paths, wishes, pack, say, lambda *words: passed.append(PassedOver(*words))):
            found.append(outcome)
            if as_json:
                from steersman.cli.jsonform import dumps
                from steersman.cli.report.outcome import as_object

                click.echo(dumps(as_object(outcome)))
    if as_json:
        for file in passed:
            click.echo(json.dumps(file.as_object()))
    else:
        _show(found, show_all)
        for line in lines(passed):
            click.echo(line)
    if html is not None:
        _write(html, found, passed)
    if any(outcome.critical for outcome in found):
        sys.exit(1)
    if any(outcome.replay is None for outcome in found):
        sys.exit(3)


def _told(words: Sequence[str]) -> dict[str, str]:
    told: dict[str, str] = {}
    for word in words:
        series, equals, name = word.partition("=")
        if not equals:
            raise UsageError(f"--column {word!r} has no '='", "write --column loss=NAME")
        if not is_role(series):
            raise UsageError(f"--column: there is no series {series!r}", f"there are {', '.join(ROLES)}")
        told["lr/0" if series == "lr" else series] = name
    return told


def _pack(rules: Sequence[Path]) -> Pack:
    try:
        return load_pack(places(rules))
    except PackError as error:
        for mistake in error.mistakes:
            click.echo(str(mistake), err=True)
        raise UsageError("the rule files have mistakes", "steersman rules check says the same") from None


@contextmanager
def _progress(paths: int) -> Iterator[Say]:
    """A line on stderr that says what is at work, where somebody looks at it."""
    if not sys.stderr.isatty():
        yield lambda words: None
        return
    from steersman.cli.render import console
    from steersman.cli.words import clean

    out = console(stderr=True)
    with out.status(f"{paths} paths") as status:
        yield lambda words: status.update(clean(words, max(20, out.width - 4)))


def _show(found: Sequence[Outcome], show_all: bool) -> None:
    from rich.text import Text

    from steersman.cli.render import console
    from steersman.cli.report.overview import overview, tally
    from steersman.cli.report.page import page

    out = console()
    if len(found) == 1:
        out.print(page(found[0], out.width))
        if legend := _legend(found):
            out.print(Text(f"\n{legend}", "dim"))
        return
    out.print(overview(found, out.width))
    out.print(Text(f"\n{tally(found)}", "bold"))
    loud = [o for o in found if o.replay is not None and (show_all or o.severity in ("warning", "critical"))]
    for outcome in loud:
        out.print(Text("\n" + "─" * out.width, "dim"))
        out.print(page(outcome, out.width))
    if legend := _legend(loud):
        out.print(Text(f"\n{legend}", "dim"))
    if not show_all and len(loud) < len(found):
        out.print(Text("\n--all shows the reports of the others, too", "dim"))


def _legend(shown: Sequence[Outcome]) -> str:
    from steersman.cli.words import units

    return units(text for outcome in shown for text in outcome.sentences)


def _write(html: Path, found: Sequence[Outcome], passed: Sequence[PassedOver]) -> None:
    from steersman.cli.report.web import web_page

    try:
        html.write_text(web_page(found, passed), encoding="utf-8")
    except OSError as error:
        # Not the code of a critical finding: whoever runs this in CI asked for a file that cannot be.
        raise UsageError(f"{html} cannot be written: {error.strerror}", "name another file after --html") from None
    click.echo(f"steersman: {html} written", err=True)
