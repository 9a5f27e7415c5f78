from __future__ import annotations

import asyncio
import math

import pytest
from tests.operators.scripted_daemon import ScriptedOperators, serve

from steersman.tui.feed import Connected, FeedError, JobUpdate, Lost, Ready
from steersman.tui.grpc_feed import GrpcFeed


async def no_pause(_: float) -> None:
    await asyncio.sleep(0.02)


async def test_the_feed_follows_a_daemon_through_its_end_and_return() -> None:
    servicer = ScriptedOperators()
    with serve(servicer) as address:
        feed = GrpcFeed(address, no_pause)
        updates = feed.updates()
        said = [await anext(updates) for _ in range(3)]
        assert [type(update) for update in said] == [Connected, JobUpdate, Ready]
        assert isinstance(said[1], JobUpdate)
        assert said[1].adjustments[0].waiting
    lost = await anext(updates)
    assert isinstance(lost, Lost)
    assert "no daemon answers" in lost.reason
    with serve(servicer, address):
        async with asyncio.timeout(20):
            while isinstance(update := await anext(updates), Lost):
                pass
        assert isinstance(update, Connected)
    await updates.aclose()  # type: ignore[attr-defined]  # a generator, behind the Protocol's iterator
    await feed.close()


async def test_questions_and_decisions() -> None:
    servicer = ScriptedOperators()
    with serve(servicer) as address:
        feed = GrpcFeed(address)
        assert await feed.series_names("char-lm") == ("loss",)
        points = await feed.series("char-lm", "loss", 100, 0)
        assert points.steps.tolist() == [0, 1, 2]
        assert math.isnan(points.values[1])
        assert (await feed.detail("char-lm")).events[0].message == "first sample"
        for verb, state in (("approve", "approved"), ("reject", "refused")):
            assert (await feed.decide(verb, "adj-7f3a")).state == state
            assert (await feed.decide("revert", "adj-7f3a")).detail.startswith("being taken back")
        servicer.refuse = "it was decided by somebody else"
        with pytest.raises(FeedError, match="somebody else"):
            await feed.decide("approve", "adj-7f3a")
        await feed.close()


async def test_another_protocol_is_said() -> None:
    servicer = ScriptedOperators()
    servicer.protocol = (2, 2)
    with serve(servicer) as address:
        feed = GrpcFeed(address, no_pause)
        updates = feed.updates()
        lost = await anext(updates)
        assert isinstance(lost, Lost)
        assert "speaks protocol 2, this command 1" in lost.reason
        await updates.aclose()  # type: ignore[attr-defined]  # a generator, behind the Protocol's iterator
        await feed.close()
