"""One picture a screen and state. After a wanted change: pytest tests/tui/test_snapshots.py --snapshot-update."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.tui import scenes
from textual.pilot import Pilot

from steersman.tui.app import Dashboard
from steersman.tui.widgets.metric_chart import MetricChart

Compare = Callable[..., bool]


def settled(*keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Presses `keys` once the board is there, and waits until the curves of a live feed are drawn."""

    async def run_before(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, Dashboard)

        async def until(condition: Callable[[], bool]) -> None:
            for _ in range(200):
                await pilot.pause(0.05)
                if condition():
                    return
            raise AssertionError("the screen never settled")

        await until(lambda: app.board.ready or app.board.lost is not None)
        for key in keys:
            await pilot.press(key)
            await pilot.pause(0.1)
        charts: Callable[[], Any] = lambda: [c for c in app.screen.query(MetricChart) if c.region]  # noqa: E731
        if app.board.connected:
            await until(lambda: all(chart.drawn for chart in charts()))
        await pilot.pause(0.3)

    return run_before


@pytest.fixture(autouse=True)
def same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steersman.tui.widgets.panels.clock", lambda seconds: "12:00:00")
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["small", "large"])
@pytest.mark.parametrize("scene", ["running", "firing", "steered", "offline", "empty", "unreachable"])
def test_overview(snap_compare: Compare, scene: str, size: tuple[int, int]) -> None:
    app = Dashboard(getattr(scenes, scene)(), scenes.ADDRESS)
    assert snap_compare(app, terminal_size=size, run_before=settled())


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["small", "large"])
@pytest.mark.parametrize(
    ("scene", "job"),
    [("running", "vit-base-224"), ("firing", "char-lm"), ("steered", "char-lm-steered"), ("offline", "char-lm")],
)
def test_job(snap_compare: Compare, scene: str, job: str, size: tuple[int, int]) -> None:
    app = Dashboard(getattr(scenes, scene)(), scenes.ADDRESS, job)
    assert snap_compare(app, terminal_size=size, run_before=settled())


def test_job_on_a_log_scale(snap_compare: Compare) -> None:
    app = Dashboard(scenes.firing(), scenes.ADDRESS, "char-lm")
    assert snap_compare(app, terminal_size=(120, 40), run_before=settled("l"))


@pytest.mark.parametrize("scene", ["firing", "running"])
def test_alerts(snap_compare: Compare, scene: str) -> None:
    app = Dashboard(getattr(scenes, scene)(), scenes.ADDRESS)
    assert snap_compare(app, terminal_size=(80, 24), run_before=settled("w"))


def test_confirm(snap_compare: Compare) -> None:
    app = Dashboard(scenes.firing(), scenes.ADDRESS, "char-lm")
    assert snap_compare(app, terminal_size=(100, 30), run_before=settled("a"))


def test_help(snap_compare: Compare) -> None:
    app = Dashboard(scenes.running(), scenes.ADDRESS)
    assert snap_compare(app, terminal_size=(80, 30), run_before=settled("question_mark"))
