from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from steersman.rules.verdict import Verdict

Tool = Callable[..., str]


def cases(deploy: Path) -> list[dict[str, Any]]:
    document = yaml.safe_load((deploy / "prometheus" / "steersman.rules.test.yaml").read_text(encoding="utf-8"))
    return [check for case in document["tests"] for check in case["alert_rule_test"]]


def test_rules_pass_their_tests(deploy: Path, run_tool: Tool) -> None:
    run_tool("promtool", "check", "rules", "--lint-fatal", deploy / "prometheus" / "steersman.rules.yaml")
    run_tool("promtool", "test", "rules", deploy / "prometheus" / "steersman.rules.test.yaml")


def test_a_rule_that_never_fires_is_found_out(deploy: Path, tmp_path: Path) -> None:
    """Guards the test above: with any alert's condition made impossible, promtool has to fail."""
    text = (deploy / "prometheus" / "steersman.rules.yaml").read_text(encoding="utf-8")
    (tmp_path / "steersman.rules.test.yaml").write_text((deploy / "prometheus/steersman.rules.test.yaml").read_text())
    rules = yaml.safe_load(text)
    for group in rules["groups"]:
        for rule in group["rules"]:
            kept, rule["expr"] = rule["expr"], "vector(0) > 1"
            (tmp_path / "steersman.rules.yaml").write_text(yaml.safe_dump(rules))
            done = subprocess.run(
                ["promtool", "test", "rules", "steersman.rules.test.yaml"],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode != 0
            assert f"alertname: {rule['alert']}" in done.stdout + done.stderr
            rule["expr"] = kept


def test_every_alert_fires_in_a_case_and_is_quiet_in_another(deploy: Path, alerts: list[dict[str, Any]]) -> None:
    checks = cases(deploy)
    for name in (rule["alert"] for rule in alerts):
        seen = {bool(check["exp_alerts"]) for check in checks if check["alertname"] == name}
        assert seen == {True, False}, name


def test_every_alert_says_what_happened_and_leads_to_its_section(deploy: Path, alerts: list[dict[str, Any]]) -> None:
    page = (deploy.parent / "docs" / "deploy.md").read_text(encoding="utf-8")
    headings = {heading.lower() for heading in re.findall(r"^### (\w+)$", page, re.MULTILINE)}
    for rule in alerts:
        assert rule["labels"]["severity"] in ("info", "warning", "critical"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, rule["alert"]
        base, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert base.endswith("/docs/deploy.md")
        assert anchor == rule["alert"].lower()
        assert anchor in headings, f"docs/deploy.md has no section {rule['alert']}"
    assert headings == {rule["alert"].lower() for rule in alerts}


def test_selectors_name_what_is_documented(selectors: dict[str, str], documented: dict[str, set[str]]) -> None:
    verdicts = {verdict.value for verdict in Verdict}
    assert len(selectors) > 30
    for selector, where in selectors.items():
        name, _, matchers = selector.partition("{")
        matched = dict(re.findall(r'(\w+)\s*=~?\s*"([^"]*)"', matchers))
        if name == "up":
            continue
        if name.startswith("steersman_process_"):
            assert not matched
            continue
        assert name in documented, f"{where}: {name} is not in docs/metrics.md"
        assert set(matched) <= documented[name], f"{where}: {selector}"
        assert matched.get("verdict", "healthy") in verdicts, f"{where}: {selector}"


def test_every_expression_is_promql(expressions: dict[str, str], run_tool: Tool, tmp_path: Path) -> None:
    rules = [{"record": f"tried:{n}", "expr": text} for n, text in enumerate(expressions.values())]
    path = tmp_path / "expressions.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "tried", "rules": rules}]}), encoding="utf-8")
    assert f"{len(expressions)} rules found" in run_tool("promtool", "check", "rules", path)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("up", ["up"]),
        ('max by (job) (a{verdict="x"} == 1) and on (job) max(b{s=~"}|{"}) > 0.5', ['a{verdict="x"}', 'b{s=~"}|{"}']),
        (
            'histogram_quantile(0.99, sum by (le) (rate(c_bucket{j="by (x)"}[$__rate_interval])))',
            ['c_bucket{j="by (x)"}'],
        ),
        ("time() - max by (job) (d) or vector(0) unless ignoring(z) e offset 5m * 1e3", ["d", "e"]),
    ],
)
def test_selectors_are_found(expression: str, expected: list[str], find_selectors: Callable[[str], list[str]]) -> None:
    assert find_selectors(expression) == expected
