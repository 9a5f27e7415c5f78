"""Writes steersman.json, the Grafana dashboard; `--check` fails where the file is not what it would write."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from panel import DATASOURCE
from panels import DAEMON, FLEET, JOB

TARGET = Path(__file__).with_name("steersman.json")


def _row(number: int, title: str, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
        "panels": [],
    }


def dashboard() -> dict[str, Any]:
    """The whole dashboard as Grafana's JSON model; panels flow from left to right and wrap."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, section in (("Fleet", FLEET), ("Jobs", JOB), ("Daemon", DAEMON)):
        panels.append(_row(len(panels) + 1, title, y))
        x, y, tallest = 0, y + 1, 0
        for panel in section:
            if x + panel.width > 24:
                x, y, tallest = 0, y + tallest, 0
            panels.append(panel.json(len(panels) + 1, x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return {
        "uid": "steersman",
        "title": "Steersman",
        "description": "Training jobs, what is wrong with them, and what was done about it.",
        "tags": ["steersman"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "job",
                    "label": "Job",
                    "type": "query",
                    "datasource": DATASOURCE,
                    "query": {"query": "label_values(steersman_job_info, job)", "refId": "job"},
                    "definition": "label_values(steersman_job_info, job)",
                    "refresh": 2,
                    "sort": 1,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".+",
                    "current": {"text": "All", "value": "$__all"},
                }
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "Critical findings",
                    "datasource": DATASOURCE,
                    "enable": True,
                    "iconColor": "red",
                    "expr": 'max by (job, rule) (steersman_job_finding{job=~"$job",severity="critical"}) == 1',
                    "titleFormat": "{{job}}",
                    "textFormat": "{{rule}}",
                }
            ]
        },
        "panels": panels,
    }


def main(arguments: list[str]) -> int:
    """Write the file, or check it."""
    text = json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
    if arguments == ["--check"]:
        if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
            print("the Grafana dashboard is up to date")
            return 0
        print(f"{TARGET.name} is not what dashboard.py writes; run python deploy/grafana/dashboard.py", file=sys.stderr)
        return 1
    if arguments:
        print("usage: dashboard.py [--check]", file=sys.stderr)
        return 2
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
