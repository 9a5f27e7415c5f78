"""When an agent leaves, and when it does not yet."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, cast

import pytest

from steersman.agent.local import Listener
from steersman.agent.sidecar import Settings, Sidecar, held, take


class Quiet:
    """A listener, a roster, a link and a guardian of an agent that has nothing to do. Each look takes a second."""

    def __init__(self, *words_at: int) -> None:
        self.now = 0
        self.words_at = words_at
        self.clients: list[Any] = []
        self.attempts: dict[str, Any] = {}
        self.stop_asked = False
        self.callers = 0

    def tick(self) -> bool:
        self.now += 1
        return self.now in self.words_at

    def nobody_at_the_door(self) -> bool:
        self.callers -= 1
        return self.callers < 0

    async def run(self) -> None:
        await asyncio.Event().wait()

    def flush(self) -> list[int]:
        return []

    def live(self) -> bool:
        return False

    pending = live

    def check(self) -> None: ...
    def close(self) -> None: ...
    def tend(self, now: float) -> None: ...


async def left_at(quiet: Quiet) -> int:
    settings = Settings("127.0.0.1:9", "s", Path("spools"), Path("lock"), tick=0.0)
    part = cast(Any, quiet)
    await Sidecar(settings, part, part, part, part, lambda: quiet.now).run()
    return quiet.now


async def test_an_agent_with_nothing_to_do_leaves() -> None:
    assert await left_at(Quiet()) in (5, 6)


@pytest.mark.parametrize("words_at", [4, 5])
async def test_one_that_was_just_asked_whether_it_is_there_stays_a_while(words_at: int) -> None:
    assert await left_at(Quiet(words_at)) >= words_at + 5


async def test_one_that_is_called_while_it_leaves_stays() -> None:
    quiet = Quiet()
    quiet.callers = 1
    assert await left_at(quiet) >= 10


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings("127.0.0.1:9", str(tmp_path / "s"), tmp_path / "spools", tmp_path / "lock")


def test_one_that_is_started_while_another_leaves_takes_its_place(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as other, contextlib.ExitStack() as stack:
        assert other.enter_context(held(settings.lock))
        monkeypatch.setattr("steersman.agent.sidecar.time.sleep", lambda _: other.close())
        assert take(settings, stack)


def test_one_that_is_started_beside_another_is_not_needed(settings: Settings) -> None:
    listener = Listener(settings.socket, lambda *_: None, lambda _: None)
    listener.open()
    with held(settings.lock), contextlib.ExitStack() as stack:
        assert not take(settings, stack)
    listener.close()
