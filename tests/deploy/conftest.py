from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

_TOKEN = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
    r"|(?P<labels>\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\))"
    r"|(?P<call>[a-zA-Z_]\w*\s*(?=\(|\b(?:by|without)\b))"
    r"|(?P<word>\b(?:and|or|unless|by|without|on|ignoring|bool|offset|group_left|group_right)\b)"
    r"""|(?P<selector>[a-zA-Z_:][\w:]*\s*(?:\{(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^}"'])*\})?)"""
    r"|(?P<number>\d[\w.]*)"
)


def selectors_of(expression: str) -> list[str]:
    """Every vector selector of a PromQL expression, without its range."""
    expression = re.sub(r"\[[^\]]*\]", "", expression)
    found = (match for match in _TOKEN.finditer(expression) if match.lastgroup == "selector")
    return [re.sub(r"\s+(?=\{|$)", "", match[0]) for match in found]


def without_variables(expression: str) -> str:
    """A Grafana expression with its variables filled in as Grafana would for all jobs."""
    return expression.replace("$__rate_interval", "1m").replace("$job", ".+")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _panels(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in panels:
        yield panel
        yield from _panels(panel.get("panels", []))


@pytest.fixture(scope="session")
def find_selectors() -> Callable[[str], list[str]]:
    return selectors_of


@pytest.fixture(scope="session")
def deploy() -> Path:
    return DEPLOY


@pytest.fixture(scope="session")
def alerts() -> list[dict[str, Any]]:
    """The alerting rules, in the order of their file."""
    document = load(DEPLOY / "prometheus" / "steersman.rules.yaml")
    return [rule for group in document["groups"] for rule in group["rules"]]


@pytest.fixture(scope="session")
def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEPLOY / "grafana" / "steersman.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="session")
def grafana_alerts() -> list[dict[str, Any]]:
    document = load(DEPLOY / "grafana" / "provisioning" / "alerting" / "steersman.yaml")
    return [rule for group in document["groups"] for rule in group["rules"]]


@pytest.fixture(scope="session")
def expressions(
    alerts: list[dict[str, Any]], dashboard: dict[str, Any], grafana_alerts: list[dict[str, Any]]
) -> dict[str, str]:
    """Every PromQL expression that is deployed, by where it stands."""
    found: dict[str, str] = {}
    for rule in alerts:
        found[f"alert {rule['alert']}"] = rule["expr"]
        for name, text in rule["annotations"].items():
            for number, query in enumerate(re.findall(r'printf "((?:\\.|[^"\\])*)" \$labels\.job \| query', text)):
                plain = query.replace('\\"', '"').replace("%q", '"gpt"')
                found[f"alert {rule['alert']}: {name} {number}"] = plain.replace('job="gpt"', 'job=~".+"')
    for panel in _panels(dashboard["panels"]):
        for target in panel.get("targets", []):
            found[f"panel {panel['title']} {target['refId']}"] = without_variables(target["expr"])
    for annotation in dashboard["annotations"]["list"]:
        found[f"annotation {annotation['name']}"] = without_variables(annotation["expr"])
    for variable in dashboard["templating"]["list"]:
        inner = re.fullmatch(r"label_values\((.*), \w+\)", variable["definition"])
        assert inner, variable
        found[f"variable {variable['name']}"] = inner[1]
    for rule in grafana_alerts:
        found[f"Grafana alert {rule['title']}"] = rule["data"][0]["model"]["expr"]
    return found


@pytest.fixture(scope="session")
def selectors(expressions: dict[str, str]) -> dict[str, str]:
    """Every selector that is deployed, and one place where it stands."""
    return {selector: where for where, text in expressions.items() for selector in selectors_of(text)}


@pytest.fixture(scope="session")
def documented() -> dict[str, set[str]]:
    """Label names by metric, from docs/metrics.md."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").splitlines():
        if cells := re.match(r"\| `(steersman_\w+)` \| (\w*) \| ([^|]*)\|", line):
            names = [cells[1]]
            if cells[2] == "histogram":
                names = [f"{cells[1]}{suffix}" for suffix in ("_bucket", "_sum", "_count")]
            labels = {label.strip() for label in cells[3].split(",") if label.strip()}
            for name in names:
                found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return found


@pytest.fixture(scope="session")
def run_tool() -> Any:
    def run(*words: str | Path, stdin: str = "") -> str:
        done = subprocess.run(
            [str(word) for word in words], input=stdin, capture_output=True, text=True, timeout=60, check=False
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{' '.join(map(str, words))}\n{said}"
        return said

    return run
