"""Draws docs/images/top.svg, the dashboard on the steered job of a real demo: `python docs/images/make.py`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from steersman.cli.demo import DEFAULT_LR
from steersman.demo.voyage import STEERED, Settings, Voyage
from steersman.tui.app import dashboard
from steersman.tui.widgets.metric_chart import MetricChart

HERE = Path(__file__).resolve().parent
SHOWN_FROM = 500
"""The step from which on the picture is taken, if the adjustment has been judged by then."""


async def draw(voyage: Voyage) -> str:
    """The screen of the hot job that is being steered, once its adjustment has been kept."""
    app = dashboard(voyage.daemon, STEERED)
    async with app.run_test(size=(132, 40)) as pilot:
        while voyage.running:
            await pilot.pause(0.2)
            job = app.board.job(STEERED)
            kept = any(a.state == "kept" for a in app.board.adjustments(STEERED))
            charts = list(app.screen.query(MetricChart))
            drawn = bool(charts) and all(chart.drawn for chart in charts)
            if job is not None and (job.step or 0) >= SHOWN_FROM and kept and drawn:
                await pilot.pause(1.0)  # the keys at the bottom come with the next layout
                return app.export_screenshot(title="steersman top")
    raise SystemExit("the demo ended before its adjustment was kept: nothing was drawn")


def main() -> None:
    """Run the demo, and draw it."""
    with Voyage(Settings(DEFAULT_LR, 1, 900), print) as voyage:
        picture = asyncio.run(draw(voyage))
    (HERE / "top.svg").write_text(picture)


if __name__ == "__main__":
    main()
