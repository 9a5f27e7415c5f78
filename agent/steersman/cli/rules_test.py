"""`steersman rules test`: runs written cases through the live engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from steersman.cli.errors import CommandError
from steersman.cli.rule_files import read_whole
from steersman.cli.words import plural

if TYPE_CHECKING:
    from steersman.rules.cases.case import CaseFile
    from steersman.rules.cases.trial import Tried

    Results = Sequence[tuple[CaseFile, Sequence[Tried]]]


@click.command("test", short_help="Run written cases, and say which came out otherwise.")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--match", default="", metavar="TEXT", help="Only the cases whose name has this text in it.")
@click.option("--plot", is_flag=True, help="With each series as a line of blocks, and where rules fire.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(files: tuple[Path, ...], match: str, plot: bool, as_json: bool) -> None:
    """Run the cases in FILES (or folders of them), or those that come with the shipped rules.

    The exit code is 1 if a case did not come out as expected, or if a file has mistakes.
    """
    from steersman.rules.cases.casefile import read_cases
    from steersman.rules.cases.trial import try_file
    from steersman.rules.packs import shipped_pack

    read = read_whole(
        lambda: read_cases(files or (shipped_pack() / "tests",)),
        "the notation is in docs/rule-tests.md",
        as_json,
        "the files of cases",
    )
    chosen = [replace(file, cases=tuple(case for case in file.cases if match in case.name)) for file in read]
    results = [(file, try_file(file)) for file in chosen if file.cases]
    tried = [t for _, cases in results for t in cases]
    failed = [t for t in tried if not t.passed]
    if as_json:
        click.echo(json.dumps(_json(results), ensure_ascii=False))
    else:
        _print(results, plot)
        click.echo(f"{plural(len(tried), 'case')}, {len(failed)} failed" if failed else _well(len(tried)))
    if not tried:
        raise CommandError("there is no such case", "without --match all of them run")
    if failed:
        raise CommandError(f"{len(failed)} of {plural(len(tried), 'case')} failed")


def _well(count: int) -> str:
    return f"{plural(count, 'case')}, all as expected"


def _print(results: Results, plot: bool) -> None:
    for file, cases in results:
        failed = [t for t in cases if not t.passed]
        click.echo(f"{file.path}  {'FAILED' if failed else 'ok'}  {len(cases) - len(failed)} of {len(cases)}")
        for tried in cases if plot else failed:
            click.echo(f"  {'ok' if tried.passed else 'FAILED'}: {tried.case.name}")
            for failure in tried.failures:
                click.echo(f"    {file.path}:{failure.line}:{failure.column}: {failure.about}")
                click.echo(f"      expected  {failure.expected}")
                click.echo(f"      got       {failure.got}")
            if plot:
                from steersman.cli.case_plot import lines

                for line in lines(tried):
                    click.echo(f"    {line}")


def _json(results: Results) -> dict[str, Any]:
    return {
        "files": [
            {
                "file": file.path,
                "cases": [
                    {
                        "name": tried.case.name,
                        "line": tried.case.line,
                        "passed": tried.passed,
                        "failures": [
                            {
                                "about": f.about,
                                "expected": f.expected,
                                "got": f.got,
                                "line": f.line,
                                "column": f.column,
                            }
                            for f in tried.failures
                        ],
                    }
                    for tried in cases
                ],
            }
            for file, cases in results
        ],
        "passed": sum(t.passed for _, cases in results for t in cases),
        "failed": sum(not t.passed for _, cases in results for t in cases),
    }
