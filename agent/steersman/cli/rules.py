"""`steersman rules`: list the shipped rules, and check rule files before a daemon reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from steersman.cli.errors import CommandError
from steersman.rules.packs import Pack, PackError, load_pack
from steersman.rules.rule import Rule


@click.group()
def command() -> None:
    """List and check rule files."""


@command.command("list")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--explain", is_flag=True, help="With the conditions and what each rule says when it fires.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_rules(files: tuple[Path, ...], explain: bool, as_json: bool) -> None:
    """List the rules of FILES, or the shipped ones."""
    pack = _load(files)
    if as_json:
        click.echo(json.dumps([_json(rule) for rule in pack.rules]))
        return
    for rule in pack.rules:
        click.echo(f"{rule.name:24} {rule.severity:9} {rule.verdict}")
        if explain:
            click.echo(f"    when    {' '.join(rule.expr.source.split())}")
            if rule.unless is not None:
                click.echo(f"    unless  {' '.join(rule.unless.source.split())}")
            if rule.hold.count:
                click.echo(f"    for     {rule.hold.count} {'checks' if rule.hold.checks else 'points'}")
            if rule.clear is not None:
                click.echo(f"    clear   {' '.join(rule.clear.source.split())}")
            click.echo(f"    says    {rule.explain}")
            click.echo(f"    from    {rule.file}:{rule.line}\n")


@command.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Check FILES (or folders of them) as one pack: every mistake with its place; exit code 1 if there is one."""
    pack = _load(files)
    click.echo(f"{len(pack)} rules, no mistake")


def _load(files: tuple[Path, ...]) -> Pack:
    try:
        return load_pack(files)
    except PackError as error:
        for mistake in error.mistakes:
            click.echo(str(mistake))
        count = len(error.mistakes)
        raise CommandError(
            f"{count} mistake{'s' if count > 1 else ''} in the rule files",
            "features and keys are listed in docs/rules.md",
        ) from None


def _json(rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.name,
        "severity": rule.severity.value,
        "verdict": rule.verdict.value,
        "expr": rule.expr.source,
        "unless": rule.unless.source if rule.unless is not None else None,
        "for": {"count": rule.hold.count, "unit": "checks" if rule.hold.checks else "points"},
        "clear": rule.clear.source if rule.clear is not None else None,
        "explain": rule.explain,
        "evidence": list(rule.evidence),
        "file": rule.file,
        "line": rule.line,
    }
