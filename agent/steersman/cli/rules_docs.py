"""`steersman rules docs`: the page of a set of rules."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from steersman.cli.errors import CommandError
from steersman.cli.rule_files import SHIPPED, load_rules, read_whole


@click.command("docs", short_help="Print a page about the rules of a folder.")
@click.argument("folder", default=SHIPPED, type=click.Path(path_type=Path))
@click.option("--write", "target", type=click.Path(path_type=Path), metavar="FILE", help="Write the page here.")
@click.option(
    "--check", "checked", type=click.Path(path_type=Path), metavar="FILE", help="Fail if this is not the page."
)
@click.option("--title", default="", help="Of the page.")
def command(folder: Path, target: Path | None, checked: Path | None, title: str) -> None:
    """Print a page about the rules of FOLDER (the shipped ones): meaning, condition, what to do, a job each fires on.

    Cases are taken from FOLDER/tests, runbooks from FOLDER/runbooks, rates on healthy runs from FOLDER/healthy.json.
    """
    text = made(folder, title)
    if checked is not None:
        try:
            there = checked.read_text(encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{checked}: {error.strerror}") from None
        if there != text:
            words = ["steersman rules docs", *([] if str(folder) == SHIPPED else [shlex.quote(str(folder))])]
            words += [f"--title {shlex.quote(title)}"] * bool(title)
            again = f"{' '.join(words)} --write {shlex.quote(str(checked))}"
            raise CommandError(f"{checked} is not up to date", again)
        return
    if target is None:
        click.echo(text, nl=False)
        return
    target.write_text(text, encoding="utf-8")


def made(folder: Path, title: str = "") -> str:
    """The page of a folder of rules, or of the shipped pack."""
    from steersman.cli.rule_page import page
    from steersman.rules.backtest import healthy
    from steersman.rules.cases.casefile import read_cases
    from steersman.rules.cases.trial import try_file
    from steersman.rules.packs import shipped_pack

    shipped = str(folder) == SHIPPED
    place = shipped_pack() if shipped else folder
    pack = load_rules([place])
    cases = place / "tests"
    files = read_whole(lambda: read_cases([cases]), "docs/rule-tests.md has the notation") if cases.is_dir() else []
    tried = [t for file in files for t in try_file(file)]
    command = "steersman rules docs" if shipped else f"steersman rules docs {folder}"
    rates = healthy.read(place / healthy.NAME)
    return page(pack, tried, rates, title or ("The shipped rules" if shipped else "Rules"), command)
