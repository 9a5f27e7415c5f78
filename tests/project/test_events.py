"""The page of events names every kind that the code says, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path


def said(path: Path) -> set[str]:
    """Kinds in calls of anything that is named `say`, and in what is sent as an event."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if name in ("say", "_say", "_say_once", "_gap") and isinstance(first, ast.Constant):
                found.add(str(first.value))
        if isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            if {"kind", "message", "count"} <= set(keys):
                value = node.values[keys.index("kind")]
                if isinstance(value, ast.Constant):
                    found.add(str(value.value))
    return {kind for kind in found if re.fullmatch(r"[a-z]+(_[a-z]+)+", kind)}


def test_each_kind_of_event_that_the_probe_says_is_on_the_page(root: Path) -> None:
    kinds = set().union(*map(said, (root / "agent/steersman/agent/probe").glob("*.py")))
    page = (root / "docs/events.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.MULTILINE))
    assert len(kinds) > 8
    assert kinds == {kind for kind, who in rows.items() if who == "probe"}
