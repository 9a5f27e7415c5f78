from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.agent.local import Client, Listener
from steersman.agent.probe import packet
from steersman.agent.probe.channel import Channel
from steersman.agent.probe.shared import SIZE, Inbox, Outbox, SharedError

COLUMNS = [("loss", ""), ("grad_norm", ""), ("step_time", "s")]


def row(step: int, seq: int, schema: int, values: tuple[float, ...]) -> bytes:
    layout = packet.row_struct(len(values))
    return layout.pack(packet.ROW, packet.VERSION, schema, seq, step, 0.0, 0b111, *values)


def put(outbox: Outbox, record: bytes) -> bool:
    return outbox.put(record)


@given(st.lists(st.one_of(st.integers(1, 9000), st.none()), max_size=80))
def test_what_is_written_is_taken_once_and_in_order(sizes: list[int | None]) -> None:
    """A number writes a record of that size, None lets the reader take what there is."""
    outbox = Outbox.make()
    inbox = Inbox(os.dup(outbox.descriptor))
    waiting: list[bytes] = []
    for number, size in enumerate([*sizes, None]):
        if size is None:
            assert inbox.take(inbox.written()) == waiting
            waiting = []
        elif put(outbox, record := bytes([number % 251]) * size):
            waiting.append(record)
        else:
            assert sum(len(r) + 15 for r in waiting) + 2 * (size + 15) > SIZE - 64, "refused although there was room"
    outbox.close()
    inbox.close()


def test_a_record_that_was_not_published_is_not_seen() -> None:
    outbox = Outbox.make()
    inbox = Inbox(os.dup(outbox.descriptor))
    assert put(outbox, b"whole")
    assert outbox.room(100)
    assert inbox.take(inbox.written()) == [b"whole"]
    assert put(outbox, b"next")
    assert inbox.take(inbox.written()) == [b"next"]


def test_memory_that_could_shrink_is_refused() -> None:
    loose = os.memfd_create("loose")
    os.ftruncate(loose, SIZE)
    with pytest.raises(SharedError, match="not sealed"):
        Inbox(loose)
    small = os.memfd_create("small")
    with pytest.raises(SharedError, match=f"0 bytes instead of {SIZE}"):
        Inbox(small)


@pytest.mark.parametrize("word", [1 << 40, 1 << 63, SIZE])
def test_damage_is_an_error_and_no_crash(word: int) -> None:
    outbox = Outbox.make()
    inbox = Inbox(os.dup(outbox.descriptor))
    put(outbox, b"one")
    memoryview(outbox.memory).cast("Q")[8] = word
    with pytest.raises(SharedError):
        inbox.take(inbox.written())
    memoryview(outbox.memory).cast("Q")[0] = word
    with pytest.raises(SharedError):
        inbox.take(inbox.written())


class Ears:
    """An agent's listener that answers HELLO, and remembers rows and the columns they came with."""

    def __init__(self, path: Path, offers: bool = True) -> None:
        self.offers = offers
        self.rows: list[packet.Row] = []
        self.schemas: dict[int, int] = {}
        self.clients: list[Client] = []
        self.said_goodbye_after = -1
        self.listener = Listener(str(path), self.received, lambda client: None)
        self.listener.open()

    def received(self, client: Client, data: bytes) -> None:
        kind = packet.kind_of(data)
        if kind == packet.ROW:
            found = packet.unpack_row(data)
            assert self.schemas[found.schema] == len(found.values)
            self.rows.append(found)
            return
        body = packet.unpack_json(data)
        if kind == packet.HELLO:
            self.clients.append(client)
            more = {"shared": True} if self.offers else {}
            client.send(packet.WELCOME, attempt_id="a", job="j", **more)
        elif kind == packet.SCHEMA:
            self.schemas[body["id"]] = len(body["columns"])
        elif kind == packet.BYE:
            self.said_goodbye_after = len(self.rows)


def hear(ears: Ears) -> None:
    """Take everything there is: memory that comes in one tick is read in the next."""
    ears.listener.tick()
    ears.listener.tick()


def talk(channel: Channel, ears: Ears) -> None:
    """Connect, be welcomed, and do what the probe does with that."""
    channel._tried = -10.0
    channel.tend()
    ears.listener.tick()
    for message in channel.receive():
        if packet.kind_of(message) == packet.WELCOME:
            channel.offered(bool(packet.unpack_json(message).get("shared")))
    channel.tend()


def send(channel: Channel, step: int, schema: int = 0, values: tuple[float, ...] = (0.5, 1.0, 0.1)) -> bool:
    """As `Rows.send` does; whether it went into memory."""
    message = row(step, channel.next_seq, schema, values)
    box = channel.straight
    if box is not None and (at := box.room(len(message))):
        box.memory[at : at + 8 + len(message)] = len(message).to_bytes(8, "little") + message
        box.publish()
        channel.next_seq += 1
        return True
    channel.send_row(message, schema)
    return False


def steps(ears: Ears) -> list[int]:
    assert [found.seq for found in ears.rows] == list(range(1, len(ears.rows) + 1)), "numbers with a hole, or twice"
    return [found.step for found in ears.rows]


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Channel]:
    made = Channel(str(tmp_path / "s"), lambda: {})
    made.declare(0, packet.schema(0, COLUMNS))
    yield made
    made.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[..., Ears]]:
    made: list[Ears] = []

    def start(**how: bool) -> Ears:
        made.append(Ears(tmp_path / "s", **how))
        return made[-1]

    yield start
    for ears in made:
        ears.listener.close()


def test_rows_go_by_socket_first_and_through_memory_once_it_is_offered(
    channel: Channel, agent: Callable[..., Ears]
) -> None:
    ears = agent()
    channel.tend()
    assert not send(channel, 0)
    talk(channel, ears)
    assert not send(channel, 1) or channel.straight is not None
    assert all(send(channel, step) for step in range(2, 60))
    hear(ears)
    assert steps(ears) == list(range(60))


def test_columns_that_change_are_declared_before_their_rows(channel: Channel, agent: Callable[..., Ears]) -> None:
    ears = agent()
    talk(channel, ears)
    for step in range(40):
        if step == 20:
            channel.declare(1, packet.schema(1, COLUMNS[:2]))
        if step < 20:
            send(channel, step)
        else:
            send(channel, step, 1, (0.5, 1.0))
        if step % 7 == 0:
            ears.listener.tick()
    hear(ears)
    assert steps(ears) == list(range(40))


def test_what_one_agent_did_not_take_the_next_one_does(channel: Channel, agent: Callable[..., Ears]) -> None:
    first = agent()
    talk(channel, first)
    for step in range(10):
        send(channel, step)
    hear(first)
    for step in range(10, 30):
        assert send(channel, step)
    for client in first.listener.clients:
        client.connection.close()  # killed: it takes nothing any more
    first.listener.clients.clear()
    first.listener.close()
    channel._looked = -10.0
    channel.receive()
    assert not channel.connected
    for step in range(30, 40):
        assert not send(channel, step)
    second = agent()
    talk(channel, second)
    hear(second)
    assert [found.step for found in (*first.rows, *second.rows)] == list(range(40))
    assert [found.seq for found in (*first.rows, *second.rows)] == list(range(1, 41))


def test_an_agent_of_an_older_version_gets_everything_by_socket(channel: Channel, agent: Callable[..., Ears]) -> None:
    first = agent()
    talk(channel, first)
    for step in range(5):
        send(channel, step)
    first.listener.close()
    channel._looked = -10.0
    channel.receive()
    old = agent(offers=False)
    talk(channel, old)
    for step in range(5, 9):
        assert not send(channel, step)
    hear(old)
    assert steps(old) == list(range(9))


def test_full_memory_keeps_rows_until_there_is_room(channel: Channel, agent: Callable[..., Ears]) -> None:
    ears = agent()
    talk(channel, ears)
    went = [send(channel, step) for step in range(5000)]
    assert (went[1], went[-1]) == (True, False)
    while len(ears.rows) < 5000:
        before = len(ears.rows)
        hear(ears)
        channel.tend()
        assert len(ears.rows) > before
    assert steps(ears) == list(range(5000))
    assert channel.dropped == 0


def test_the_last_rows_come_before_the_goodbye(channel: Channel, agent: Callable[..., Ears]) -> None:
    ears = agent()
    talk(channel, ears)
    for step in range(100):
        send(channel, step)
    channel.send_note(packet.pack_json(packet.BYE, {"outcome": "finished"}))
    channel.close()
    hear(ears)
    assert (ears.said_goodbye_after, len(ears.rows)) == (100, 100)


def test_a_child_of_a_fork_does_not_write_into_its_parents_memory(channel: Channel, agent: Callable[..., Ears]) -> None:
    ears = agent()
    talk(channel, ears)
    send(channel, 0)
    pid = os.fork()
    if pid == 0:
        channel.forked()
        for step in range(100, 120):
            send(channel, step)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert send(channel, 1)
    hear(ears)
    assert steps(ears) == [0, 1]


KILLED = """
import os, signal, sys
sys.path[:0] = {paths!r}
from tests.agent.probe.test_shared import COLUMNS, Channel, packet, send
channel = Channel({path!r}, lambda: {{}})
channel.declare(0, packet.schema(0, COLUMNS))
channel.tend()
while not channel._shares:
    for message in channel.receive():
        channel.offered(True)
send(channel, 0)
for step in range(1, 1000):
    assert send(channel, step)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_rows_of_a_job_that_is_killed_next_are_all_there(agent: Callable[..., Ears], tmp_path: Path) -> None:
    ears = agent()
    code = KILLED.format(paths=[str(Path(__file__).parents[3])], path=str(tmp_path / "s"))
    with subprocess.Popen([sys.executable, "-c", code]) as job:
        try:
            while job.poll() is None or ears.listener.clients:
                ears.listener.tick()
        finally:
            job.kill()
    assert job.returncode == -9
    assert steps(ears) == list(range(1000))
