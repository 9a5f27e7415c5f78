from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from steersman.agent.local import Client, Listener


class Heard:
    """What a listener passes on."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.left = 0
        self.answer = False

    def received(self, client: Client, data: bytes) -> None:
        self.packets.append(data)
        if self.answer:
            client.send(3, message="welcome")

    def gone(self, client: Client) -> None:
        self.left += 1


@pytest.mark.parametrize("answer", [False, True], ids=["all read", "our answer unread"])
def test_what_was_sent_before_hanging_up_arrives_whole(tmp_path: Path, answer: bool) -> None:
    heard = Heard()
    listener = Listener(str(tmp_path / "s"), heard.received, heard.gone)
    listener.open()
    try:
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        probe.connect(listener.path)
        probe.send(b"hello")
        heard.answer = answer
        listener.tick()
        heard.answer = False
        for number in range(5):
            probe.send(b"row %d" % number)
        probe.send(b"goodbye")
        probe.close()
        listener.tick()
        assert heard.packets == [b"hello", *(b"row %d" % n for n in range(5)), b"goodbye"]
        assert (heard.left, listener.clients) == (1, [])
    finally:
        listener.close()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def listener(tmp_path: Path, heard: Heard) -> Iterator[Listener]:
    made = Listener(str(tmp_path / "s"), heard.received, heard.gone)
    made.open()
    yield made
    made.close()


def calls(listener: Listener) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        made.connect(listener.path)
    except OSError:
        made.close()
        raise
    return made


def test_whoever_came_in_the_last_moment_is_heard(listener: Listener, heard: Heard) -> None:
    with calls(listener) as early:
        early.send(b"early")
        assert not listener.nobody_at_the_door()
        assert heard.packets == [b"early"]
        with calls(listener) as late:
            late.send(b"late")
            early.send(b"again")
            listener.tick()
            assert heard.packets == [b"early", b"again", b"late"]


def test_where_nobody_is_at_the_door_nobody_can_come_any_more(listener: Listener) -> None:
    assert listener.nobody_at_the_door()
    with pytest.raises(FileNotFoundError):
        calls(listener)
