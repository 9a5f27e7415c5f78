"""Draws docs/images/top.svg from the scripted feed of the tests: `python docs/images/make.py`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.tui import scenes  # noqa: E402

from steersman.tui.app import Dashboard  # noqa: E402  # the scenes need the repository's root on the path
from steersman.tui.widgets.metric_chart import MetricChart  # noqa: E402


async def draw() -> str:
    """The screen of a hot job that is being steered."""
    app = Dashboard(scenes.steered(), scenes.ADDRESS, job="char-lm-steered")
    async with app.run_test(size=(132, 40)) as pilot:
        for _ in range(100):
            await pilot.pause(0.05)
            charts = list(app.screen.query(MetricChart))
            if charts and all(chart.drawn for chart in charts):
                break
        else:
            raise SystemExit("the charts were never drawn")
        await pilot.pause(0.5)  # the keys at the bottom come with the next layout
        return app.export_screenshot(title="steersman top")


if __name__ == "__main__":
    (HERE / "top.svg").write_text(asyncio.run(draw()))
