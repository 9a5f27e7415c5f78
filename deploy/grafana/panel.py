"""One panel of the dashboard, and what panels have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "steersman-prometheus"}


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: what it shows.
        description: how to read it; the mouse over the title shows it.
        queries: expression and legend.
        kind: Grafana's panel type.
        width: of 24 columns.
        height: in Grafana's rows.
        unit: Grafana's name of the unit.
        instant: only the newest value is asked for.
        defaults: more of `fieldConfig.defaults`.
        overrides: `fieldConfig.overrides`.
        options: the panel type's own.
        transformations: as Grafana's.
    """

    title: str
    description: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    unit: str = "none"
    instant: bool = False
    defaults: dict[str, Any] = field(default_factory=dict)
    overrides: tuple[dict[str, Any], ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    transformations: tuple[dict[str, Any], ...] = ()

    def json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """The panel as Grafana stores it."""
        targets = []
        for index, (expr, legend) in enumerate(self.queries):
            target = {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": expr,
                "legendFormat": legend,
                "range": not self.instant,
                "instant": self.instant,
            }
            if self.kind == "table":
                target["format"] = "table"
            targets.append(target)
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": {"unit": self.unit, **self.defaults}, "overrides": list(self.overrides)},
            "options": self.options or {"legend": {"displayMode": "list", "placement": "bottom"}},
            "targets": targets,
            "transformations": list(self.transformations),
        }
