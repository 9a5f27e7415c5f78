from __future__ import annotations

import doctest
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Tool = Callable[..., str]


@pytest.mark.parametrize("script", ["dashboard.py", "alerts.py"])
def test_what_is_checked_in_is_what_the_script_writes(deploy: Path, run_tool: Tool, script: str) -> None:
    assert "up to date" in run_tool(sys.executable, deploy / "grafana" / script, "--check")


def test_panels_fill_rows_without_overlap(dashboard: dict[str, Any]) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_every_panel_explains_itself_and_asks_the_provisioned_source(deploy: Path, dashboard: dict[str, Any]) -> None:
    provisioned = yaml.safe_load((deploy / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    uids = {source["uid"] for source in provisioned["datasources"]}
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["description"], panel["title"]
        assert panel["targets"], panel["title"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} <= uids


def test_every_documented_metric_of_a_job_is_on_the_dashboard(
    selectors: dict[str, str], documented: dict[str, set[str]]
) -> None:
    shown = {selector.partition("{")[0] for selector in selectors}
    assert {name for name in documented if name.startswith("steersman_job")} <= shown


def test_grafana_alerts_are_those_of_prometheus(
    alerts: list[dict[str, Any]], grafana_alerts: list[dict[str, Any]]
) -> None:
    assert [rule["title"] for rule in grafana_alerts] == [rule["alert"] for rule in alerts]
    assert len({rule["uid"] for rule in grafana_alerts}) == len(alerts)
    for ours, theirs in zip(alerts, grafana_alerts, strict=True):
        assert theirs["data"][0]["model"]["expr"] == ours["expr"]
        assert theirs["for"] == ours["for"]
        assert theirs["keepFiringFor"] == ours.get("keep_firing_for", "0s")
        assert not [text for text in theirs["annotations"].values() if "query" in text or "printf" in text]


def test_examples_in_the_scripts_hold(deploy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(deploy / "grafana"))
    import alerts

    assert doctest.testmod(alerts).attempted > 0
    assert doctest.testmod(alerts).failed == 0
