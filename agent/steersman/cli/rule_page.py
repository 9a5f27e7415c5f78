"""The page of a set of rules: what each means, when it fires, what to do, and a job on which it does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from steersman.cli.case_plot import lines

if TYPE_CHECKING:
    from steersman.rules.backtest.healthy import HealthyRate
    from steersman.rules.cases.trial import Tried
    from steersman.rules.packs import Pack
    from steersman.rules.rule import Rule

NOT_MEASURED = "not measured yet"


def page(pack: Pack, tried: Sequence[Tried], rates: Mapping[str, HealthyRate], title: str, command: str) -> str:
    """The whole page.

    Args:
        pack: the rules.
        tried: their test cases, run.
        rates: by rule, how often it fires on healthy runs.
        title: of the page.
        command: what makes it.
    """
    out = [f"# {title}", "", f"Made by `{command}` from the rule files, their test cases and their runbooks.", ""]
    out += ["| rule | severity | verdict | on healthy runs |", "|---|---|---|---|"]
    for rule in pack.rules:
        rate = rates.get(rule.name)
        short = rate.short if rate is not None else NOT_MEASURED
        out.append(f"| [`{rule.name}`](#{rule.name}) | {rule.severity} | {rule.verdict} | {short} |")
    for rule in pack.rules:
        out += ["", *_section(rule, tried, rates.get(rule.name))]
    return "\n".join(out) + "\n"


def firing_case(rule: str, tried: Sequence[Tried]) -> Tried | None:
    """The first case that asks for the rule to fire."""
    for one in tried:
        if any(e.rule == rule and not e.never and e.state == "firing" for e in one.case.expected):
            return one
    return None


def quiet_cases(rule: str, tried: Sequence[Tried]) -> list[Tried]:
    """The cases that ask for it, by name, to stay silent."""
    return [t for t in tried if any(e.rule == rule and e.never for e in t.case.expected)]


def conditions(rule: Rule) -> Iterator[tuple[str, str]]:
    """When a rule fires and when it is over, as pairs of a word and a text."""
    yield "when", " ".join(rule.expr.source.split())
    if rule.unless is not None:
        yield "unless", " ".join(rule.unless.source.split())
    if rule.hold.count:
        yield "for", f"{rule.hold.count} {'checks' if rule.hold.checks else 'points'}"
    if rule.clear is not None:
        yield "clear", " ".join(rule.clear.source.split())


def _section(rule: Rule, tried: Sequence[Tried], rate: HealthyRate | None) -> Iterator[str]:
    yield f"## {rule.name}"
    yield ""
    yield f"{rule.severity}, speaks for `{rule.verdict}`. It says: *{_readable(rule.explain)}*"
    yield ""
    yield "```"
    for word, text in conditions(rule):
        yield f"{word:7} {text}"
    yield "```"
    yield ""
    wanted = dict.fromkeys((*rule.evidence, *rule.expr.names))
    yield f"Evidence: {', '.join(f'`{name}`' for name in wanted)}."
    if rule.prescribe is not None:
        factor = "the recommended LR" if rule.prescribe.scale is None else f"{rule.prescribe.scale:g} times the LR"
        risk = f"; risk: {rule.prescribe.risk}" if rule.prescribe.risk else ""
        yield f"It prescribes {factor} over {rule.prescribe.over} steps{risk}."
    yield f"Fires on healthy runs: {rate if rate is not None else NOT_MEASURED}."
    if rule.docs:
        yield f"More: <{rule.docs}>"
    if rule.runbook:
        yield from ("", "**What to do**", "", rule.runbook)
    fires = firing_case(rule.name, tried)
    if fires is not None:
        yield from ("", f"**Where it fires**: {fires.case.name}", "", "```", *lines(fires, [rule.name]), "```")
    quiet = quiet_cases(rule.name, tried)
    if quiet:
        yield ""
        yield f"**Where it must not**: {'; '.join(t.case.name for t in quiet)}."


def _readable(template: str) -> str:
    """A sentence with the names of features where their values would stand."""
    return re.sub(r"\{(\w+)[^}]*\}", r"‹\1›", template).replace("{{", "{").replace("}}", "}")
