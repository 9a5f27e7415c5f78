"""Writes Grafana's alert rules from Prometheus' own, so that the two cannot drift; `--check` fails where they have.

For those who are notified by Grafana and run no Alertmanager.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from panel import DATASOURCE

SOURCE = Path(__file__).parents[1] / "prometheus" / "steersman.rules.yaml"
TARGET = Path(__file__).parent / "provisioning" / "alerting" / "steersman.yaml"
HEADER = "# Written by deploy/grafana/alerts.py from deploy/prometheus/steersman.rules.yaml.\n"


def annotation(text: str) -> str:
    """An annotation as Grafana can fill it in: its templates cannot query, so such a block gives its `else` or nothing.

    >>> annotation("{{ $labels.job }}: since {{ with q | query }}{{ . | first }} s{{ else }}minutes{{ end }}")
    '{{ $labels.job }}: since minutes'
    """
    kept: list[str] = []
    blocks: list[str] = []  # "query" and "else" for a block that queries, "plain" for one that does not
    for piece in re.split(r"(\{\{.*?\}\})", text):
        word = piece.strip("{}- ").partition(" ")[0] if piece.startswith("{{") else ""
        if word in ("with", "if", "range"):
            blocks.append("query" if "| query" in piece else "plain")
            if blocks[-1] == "query":
                continue
        elif word == "else" and blocks and blocks[-1] == "query":
            blocks[-1] = "else"
            continue
        elif word == "end" and blocks and blocks.pop() != "plain":
            continue
        if "query" not in blocks:
            kept.append(piece)
    return re.sub(r"\s{2,}", " ", "".join(kept)).replace("$value", "$values.A.Value")


def alert(rule: dict[str, Any]) -> dict[str, Any]:
    """One alert rule of Prometheus as Grafana's provisioning wants it."""
    span = {"from": 600, "to": 0}
    return {
        "uid": "-".join(re.findall(r"[A-Z][a-z]+", rule["alert"])).lower(),
        "title": rule["alert"],
        "condition": "C",
        "data": [
            {
                "refId": "A",
                "relativeTimeRange": span,
                "datasourceUid": DATASOURCE["uid"],
                "model": {"refId": "A", "expr": rule["expr"], "instant": True, "range": False},
            },
            {
                "refId": "C",
                "relativeTimeRange": span,
                "datasourceUid": "__expr__",
                # The expression returns what alerts and nothing else, a daemon that is down as 0: any value counts.
                "model": {
                    "refId": "C",
                    "type": "threshold",
                    "expression": "A",
                    "conditions": [{"evaluator": {"type": "gt", "params": [-1]}}],
                },
            },
        ],
        "for": rule.get("for", "0s"),
        # Unlike the rest of this format, this key is in camel case; Grafana drops any other spelling without a word.
        "keepFiringFor": rule.get("keep_firing_for", "0s"),
        "noDataState": "OK",
        "execErrState": "Error",
        "labels": rule["labels"],
        "annotations": {name: annotation(text) for name, text in rule["annotations"].items()},
        "isPaused": False,
    }


def document() -> str:
    """The whole file."""
    groups = [
        {
            "orgId": 1,
            "name": group["name"],
            "folder": "Steersman",
            "interval": "30s",
            "rules": [alert(rule) for rule in group["rules"]],
        }
        for group in yaml.safe_load(SOURCE.read_text(encoding="utf-8"))["groups"]
    ]
    return HEADER + yaml.safe_dump({"apiVersion": 1, "groups": groups}, sort_keys=False, width=120, allow_unicode=True)


def main(arguments: list[str]) -> int:
    """Write the file, or check it."""
    text = document()
    if arguments == ["--check"]:
        if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
            print("Grafana's alert rules are up to date")
            return 0
        print(f"{TARGET.name} is not what alerts.py writes; run python deploy/grafana/alerts.py", file=sys.stderr)
        return 1
    if arguments:
        print("usage: alerts.py [--check]", file=sys.stderr)
        return 2
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
