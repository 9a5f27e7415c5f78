"""`steersman rules`: what rules there are, and whether those of a user are right, before a daemon reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from steersman.cli import rules_backtest, rules_test
from steersman.cli.rule_files import load_rules
from steersman.rules.rule import Rule


@click.group()
def command() -> None:
    """List, check, test and judge rule files."""


command.add_command(rules_test.command)
command.add_command(rules_backtest.command)


@command.command("list")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--explain", is_flag=True, help="With the conditions and what each rule says when it fires.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_rules(files: tuple[Path, ...], explain: bool, as_json: bool) -> None:
    """List the rules of FILES, or the shipped ones."""
    pack = load_rules(files)
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
    pack = load_rules(files)
    click.echo(f"{len(pack)} rules, no mistake")


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
