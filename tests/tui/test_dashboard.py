from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.tui import scenes
from textual.pilot import Pilot
from textual.widgets import Static

from steersman.cli import views
from steersman.tui.app import Dashboard
from steersman.tui.feed import Connected, JobUpdate, Lost, Ready
from steersman.tui.screens.confirm import ConfirmScreen
from steersman.tui.screens.job import JobScreen
from steersman.tui.screens.overview import OverviewScreen
from steersman.tui.widgets.job_table import JobTable
from steersman.tui.widgets.metric_chart import MetricChart


async def until(pilot: Pilot[None], condition: Callable[[], bool], what: str) -> None:
    """Waits for `condition`, ten seconds at most."""
    for _ in range(200):
        if condition():
            return
        await pilot.pause(0.05)
    raise AssertionError(f"never: {what}")


def dashboard(feed: scenes.ScriptedFeed, job: str | None = None) -> Dashboard:
    return Dashboard(feed, scenes.ADDRESS, job, period=0.05)


def text_of(app: Dashboard, selector: str) -> str:
    return str(app.screen.query_one(selector, Static).render())


async def opened(pilot: Pilot[None], app: Dashboard) -> None:
    await until(pilot, lambda: app.board.ready and isinstance(app.screen, OverviewScreen), "overview")
    await until(pilot, lambda: app.screen.query_one(JobTable).row_count > 0, "a row")


async def test_enter_opens_the_job_under_the_cursor_and_escape_goes_back() -> None:
    app = dashboard(scenes.firing())
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app)
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, JobScreen), "job screen")
        await until(pilot, lambda: "vit-base-224" in text_of(app, "#job-line"), "the second job")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OverviewScreen), "overview again")
        await pilot.press("escape")
        assert isinstance(app.screen, OverviewScreen)


@pytest.mark.parametrize("before", [(), ("question_mark",), ("a",)], ids=["job", "help", "question"])
async def test_ctrl_c_ends_it_as_interrupted_whatever_is_on_top(before: tuple[str, ...]) -> None:
    feed = scenes.firing()
    app = dashboard(feed, "char-lm")
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.board.ready and isinstance(app.screen, JobScreen), "ready")
        await pilot.press(*before)
        await until(pilot, lambda: isinstance(app.screen, JobScreen) is not bool(before), "what is on top")
        await pilot.press("ctrl+c")
        await until(pilot, lambda: app._exit, "the end")
    assert (app.return_code, feed.decided) == (130, [])


@pytest.mark.parametrize(("key", "verb"), [("a", "approve"), ("x", "reject")])
async def test_a_decision_is_asked_for_and_says_what_will_happen(key: str, verb: str) -> None:
    feed = scenes.firing()
    app = dashboard(feed, "char-lm")
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.board.ready, "ready")
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "the question")
        said = text_of(app, "#consequences")
        assert ("LR 0.0105 → 0.002625, over 50 steps" if verb == "approve" else "The LR stays 0.0105") in said
        assert feed.decided == []
        await pilot.press("y")
        await until(pilot, lambda: feed.decided == [(verb, "adj-7f3a2c")], "the decision")


async def test_enter_at_a_question_is_no() -> None:
    feed = scenes.firing()
    app = dashboard(feed, "char-lm")
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.board.ready, "ready")
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "the question")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, JobScreen), "closed")
        assert feed.decided == []


async def test_revert_says_which_lr_comes_back() -> None:
    feed = scenes.steered()
    app = dashboard(feed, "char-lm-steered")
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.board.ready, "ready")
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "the question")
        assert "LR 0.001834 → 0.007335, at once" in text_of(app, "#consequences")
        await pilot.press("y")
        await until(pilot, lambda: feed.decided == [("revert", "adj-7f3a2c")], "the decision")


@pytest.mark.parametrize(
    ("state", "detail", "said"),
    [
        ("approved", "approved by operator root", "approved by operator root"),
        ("approved", "", "approved"),
        ("refused", "too hot", "refused: too hot"),
    ],
)
async def test_what_became_of_a_decision_is_said_once(state: str, detail: str, said: str) -> None:
    class Feed(scenes.ScriptedFeed):
        async def decide(self, verb: str, adjustment_id: str) -> views.Adjustment:
            return replace(await super().decide(verb, adjustment_id), state=state, detail=detail)

    feed = Feed(scenes.firing().script, scenes.firing().curves)
    app = dashboard(feed, "char-lm")
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await until(pilot, lambda: app.board.ready, "ready")
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "the question")
        await pilot.press("y")
        await until(pilot, lambda: len(app._notifications) > 0, "the words")
        (note,) = app._notifications
        assert (note.title, note.message) == ("", said)


async def test_a_refused_decision_is_said() -> None:
    feed = replace(scenes.firing(), refusal="it was decided by somebody else")
    app = dashboard(feed, "char-lm")
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await until(pilot, lambda: app.board.ready, "ready")
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "the question")
        await pilot.press("y")
        await until(pilot, lambda: "somebody else" in "".join(n.message for n in app._notifications), "the words")


async def test_a_daemon_that_goes_is_said_and_what_was_known_stays_until_it_is_back() -> None:
    feed = scenes.firing()
    app = dashboard(feed)
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app)
        feed.more.put_nowait(Lost("no daemon answers", 0.5))
        await until(pilot, lambda: app.screen.query_one("#offline").display, "offline")
        assert "no daemon answers" in text_of(app, "#offline")
        assert app.screen.query_one(JobTable).row_count == 2
        assert app.screen.has_class("-offline")
        back = scenes.job("char-lm", step=99_999, waiting_adjustments=0)
        for update in (Connected(scenes.DAEMON), JobUpdate(back), Ready()):
            feed.more.put_nowait(update)
        await until(pilot, lambda: not app.screen.query_one("#offline").display, "online")
        table = app.screen.query_one(JobTable)
        await until(pilot, lambda: table.row_count == 1, "the job that went")
        await until(pilot, lambda: "99,999" in str(table.get_cell("char-lm", "step")), "the new step")
        assert not app.screen.query_one("#waiting").display


async def test_series_are_fetched_from_where_the_last_ended() -> None:
    feed = scenes.running()
    app = dashboard(feed, "vit-base-224")
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.board.ready, "ready")
        await until(pilot, lambda: app.screen.query_one("#lr", MetricChart).drawn, "curves")
        feed.more.put_nowait(JobUpdate(scenes.job("vit-base-224", step=2600)))
        await until(pilot, lambda: ("vit-base-224", "loss", 2481) in feed.asked, "only what is new")


async def test_what_waits_is_said_on_every_screen() -> None:
    app = dashboard(scenes.firing())
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app)
        assert "1 adjustment waits for your decision: char-lm" in text_of(app, "#waiting")
        await pilot.press("w")
        await until(pilot, lambda: app.screen.query("#alerts").first() is not None, "alerts")
        assert app.screen.query_one("#waiting").display
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, JobScreen), "the job")
        assert "a approve" in text_of(app, "#waiting")


async def test_a_thousand_jobs_write_only_the_cells_in_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [scenes.job(f"job-{i:04d}") for i in range(1000)]
    feed = scenes.ScriptedFeed([Connected(scenes.DAEMON), *map(JobUpdate, jobs), Ready()])
    app = dashboard(feed)
    written: list[str] = []
    real = JobTable.update_cell

    def counting(self: JobTable, row: str, column: str, *args: object, **kwargs: object) -> None:
        written.append(row)
        real(self, row, column, *args, **kwargs)  # type: ignore[arg-type]  # passed through

    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app)
        monkeypatch.setattr(JobTable, "update_cell", counting)
        for job in jobs:
            feed.more.put_nowait(JobUpdate(replace(job, step=5000)))
        known = app.board.job
        await until(pilot, lambda: (j := known("job-0999")) is not None and j.step == 5000, "all updates")
        await until(pilot, lambda: bool(written), "cells")
        await asyncio.sleep(0)
        assert len(set(written)) < 60


async def test_a_scrolled_table_may_be_made_narrower_and_keeps_its_job() -> None:
    jobs = [scenes.job(f"job-{i:04d}") for i in range(60)]
    app = dashboard(scenes.ScriptedFeed([Connected(scenes.DAEMON), *map(JobUpdate, jobs), Ready()]))
    async with app.run_test(size=(120, 30)) as pilot:
        await opened(pilot, app)
        table = app.screen.query_one(JobTable)
        await pilot.press(*["j"] * 45)
        await until(pilot, lambda: table.selected == "job-0045" and table.scroll_y > 0, "the 46th job")
        for width in (70, 150, 90):
            await pilot.resize_terminal(width, 30)
            await until(pilot, lambda: table.row_count == 60, "all rows")
            assert table.selected == "job-0045"


async def test_the_cursor_is_on_what_comes_first_until_somebody_moves_it() -> None:
    late = replace(scenes.job("b"), started_at=1.0)
    feed = scenes.ScriptedFeed([Connected(scenes.DAEMON), JobUpdate(late), Ready()])
    app = dashboard(feed)
    async with app.run_test(size=(120, 30)) as pilot:
        await opened(pilot, app)
        table = app.screen.query_one(JobTable)
        feed.more.put_nowait(JobUpdate(replace(late, name="a", started_at=2.0)))
        await until(pilot, lambda: table.row_count == 2, "two jobs")
        assert table.selected == "a"
        await pilot.press("j")
        feed.more.put_nowait(JobUpdate(replace(late, name="c", started_at=3.0)))
        await until(pilot, lambda: table.row_count == 3, "three jobs")
        assert table.selected == "b"


async def test_a_job_that_ended_long_ago_is_asked_for() -> None:
    feed = scenes.ScriptedFeed([Connected(scenes.DAEMON), JobUpdate(scenes.job("new")), Ready()])
    feed.ended = [scenes.job("old")]
    app = dashboard(feed, "old")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.board.job("old") is not None, "the old job")
        await until(pilot, lambda: "old" in text_of(app, "#job-line"), "its line")
