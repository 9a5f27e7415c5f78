"""`steersman rules`: what rules there are, and whether those of a user are right, before a daemon reads them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from steersman.cli import rules_backtest, rules_docs, rules_test
from steersman.cli.errors import UsageError
from steersman.cli.rule_files import SHIPPED, load_rules
from steersman.cli.rule_page import NOT_MEASURED, conditions
from steersman.cli.words import plural
from steersman.rules.rule import Rule

if TYPE_CHECKING:
    from steersman.rules.backtest.healthy import HealthyRate


_RULE = re.compile(r"[a-z][a-z0-9_]*")


@click.group()
def command() -> None:
    """List, check, test and judge rule files."""


command.add_command(rules_test.command)
command.add_command(rules_backtest.command)
command.add_command(rules_docs.command)


@command.command("list", short_help="List rules: the shipped ones, those of files, or those named.")
@click.argument("files", nargs=-1, metavar="[FILE|RULE]...", type=click.Path(path_type=Path))
@click.option(
    "--explain",
    is_flag=True,
    help="With the conditions, what each rule says when it fires, what to do then, and its rate on healthy runs.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_rules(files: tuple[Path, ...], explain: bool, as_json: bool) -> None:
    """List the rules of files, or the shipped ones; where rules are named, only these."""
    names = [str(path) for path in files if _RULE.fullmatch(str(path)) and str(path) != SHIPPED and not path.exists()]
    files = tuple(path for path in files if str(path) not in names)
    rules = load_rules(files).rules
    if names:
        _know(names, [rule.name for rule in rules])
        rules = tuple(rule for rule in rules if rule.name in names)
    rates = _rates(files) if explain or as_json else {}
    if as_json:
        click.echo(json.dumps([_json(rule, rates.get(rule.name)) for rule in rules]))
        return
    for rule in rules:
        click.echo(f"{rule.name:24} {rule.severity:9} {rule.verdict}")
        if explain:
            _explain(rule, rates.get(rule.name))


@command.command(short_help="Say every mistake in rule files, with its place.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Check FILES (or folders of them) as one pack: every mistake with its place; exit code 1 if there is one."""
    pack = load_rules(files)
    click.echo(f"{plural(len(pack), 'rule')}, no mistake")


def _know(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known)
            hint = f"did you mean {' or '.join(near)}?" if near else "`steersman rules list` shows all"
            raise UsageError(f"{name} is no file, and no rule is called so", hint)


def _explain(rule: Rule, rate: HealthyRate | None) -> None:
    for word, text in conditions(rule):
        click.echo(f"    {word:8}{text}")
    click.echo(f"    says    {rule.explain}")
    if rule.runbook:
        click.echo("    do      " + rule.runbook.replace("\n", "\n            "))
    if rule.docs:
        click.echo(f"    docs    {rule.docs}")
    click.echo(f"    healthy {rate if rate is not None else NOT_MEASURED}")
    click.echo(f"    from    {rule.file}:{rule.line}\n")


def _rates(files: Sequence[Path]) -> Mapping[str, HealthyRate]:
    from steersman.rules.backtest import healthy
    from steersman.rules.packs import shipped_pack

    out: dict[str, HealthyRate] = {}
    for path in files or [shipped_pack()]:
        folder = shipped_pack() if str(path) == SHIPPED else path if path.is_dir() else path.parent
        out.update(healthy.read(folder / healthy.NAME))
    return out


def _json(rule: Rule, rate: HealthyRate | None) -> dict[str, Any]:
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
        "runbook": rule.runbook or None,
        "docs": rule.docs or None,
        "healthy": {
            "runs": rate.runs.total,
            "fired_on": rate.runs.count,
            "steps": rate.steps.exposure,
            "times": rate.steps.count,
            "healthy_runs": rate.healthy,
        }
        if rate is not None
        else None,
        "file": rule.file,
        "line": rule.line,
    }
