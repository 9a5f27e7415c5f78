"""A receiver in the agent's place, and a probe that is gone after each test."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from steersman.agent.probe import ProbeConfig, current, install, packet
from steersman.agent.probe.probe import Probe
from steersman.agent.probe.steps import Steps


class Receiver:
    """Binds the agent's socket and remembers what came, in order."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.bind(self.path)
        self._server.listen()
        self._server.setblocking(False)
        self._connections: list[socket.socket] = []
        self._columns: dict[int, list[str]] = {}
        self.rows: list[dict[str, float]] = []
        self.raw: list[packet.Row] = []
        self.messages: list[tuple[int, dict[str, Any]]] = []

    def take(self) -> Receiver:
        """Everything that has been sent so far: delivery over a local socket is immediate.

        The row of the very first round waits for the next backward, for another optimizer may step in it; here it does
        not have to.
        """
        probe = current()
        if probe is not None and probe._steps.step == 0 and not probe._steps.claims:
            probe._steps.end_round()
        try:
            while True:
                connection, _ = self._server.accept()
                connection.setblocking(False)
                self._connections.append(connection)
        except BlockingIOError:
            pass
        for connection in self._connections:
            try:
                while message := connection.recv(packet.MAX_PACKET):
                    self._keep(message)
            except (BlockingIOError, ConnectionResetError):
                pass
        return self

    def _keep(self, message: bytes) -> None:
        kind = packet.kind_of(message)
        if kind == packet.ROW:
            row = packet.unpack_row(message)
            names = self._columns[row.schema]
            self.raw.append(row)
            values = {name: row.values[i] for i, name in enumerate(names) if row.present >> i & 1}
            self.rows.append({"step": row.step, "seq": row.seq, **values})
            return
        body = packet.unpack_json(message)
        if kind == packet.SCHEMA:
            self._columns[body["id"]] = [name for name, _ in body["columns"]]
        self.messages.append((kind, body))

    def of(self, kind: int) -> list[dict[str, Any]]:
        return [body for what, body in self.take().messages if what == kind]

    def command(self, counter: int = 1, over_steps: int = 0, expires_in: float = 600.0, **overlay: float) -> str:
        """Send a COMMAND; the probe looks at it at its next step."""
        self.take()
        identity = f"adjustment-{counter}"
        body = {
            "adjustment_id": identity,
            "overlay": overlay,
            "over_steps": over_steps,
            "expires_at": time.time() + expires_in,
            "counter": counter,
        }
        self._connections[-1].send(packet.pack_json(packet.COMMAND, body))
        return identity

    def states(self) -> list[str]:
        return [ack["state"] for ack in self.of(packet.ACK)]

    def hang_up(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._server.close()


@pytest.fixture(autouse=True)
def _listens_at_every_step() -> Iterator[None]:
    # Not by monkeypatch: what a test breaks by that has to be whole again before its probes are closed.
    Steps.listen_every, before = -1, Steps.listen_every
    yield
    Steps.listen_every = before


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    here = Receiver(tmp_path / "agent.sock")
    yield here
    here.hang_up()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Probe]]:
    """Install a probe with a budget that nothing on a busy machine exceeds."""

    made: list[Probe] = []

    def make(**changes: Any) -> Probe:
        settings: dict[str, Any] = {"budget_floor": 10.0, "socket_path": str(tmp_path / "agent.sock"), **changes}
        made.append(install(ProbeConfig(attempt_id=str(uuid.uuid4()), job="test", **settings)))
        return made[-1]

    yield make
    probe = current()
    if probe is not None:
        probe.close()
    for one in made:
        one._channel.close()  # once more, where a test's bug kept it from being closed


@pytest.fixture
def probe(receiver: Receiver, start: Callable[..., Probe]) -> Probe:
    return start()


class Job:
    """A small regression that knows nothing of Steersman."""

    def __init__(self, make: Callable[..., torch.optim.Optimizer], seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(256, 8, generator=generator)
        self.targets = self.inputs.sin().sum(1, keepdim=True)
        torch.manual_seed(seed)
        self.model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
        self.optimizer = make(list(self.model.parameters()))
        self.count = 0

    def loss(self) -> torch.Tensor:
        start = self.count * 16 % 256
        self.count += 1
        return torch.nn.functional.mse_loss(
            self.model(self.inputs[start : start + 16]), self.targets[start : start + 16]
        )

    def step(self) -> float:
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def until(self, done: Callable[[], bool], seconds: float = 10.0) -> None:
        """Step until something holds."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, "it did not happen in time"
            self.step()


@pytest.fixture
def job() -> Callable[..., Job]:
    return Job


@pytest.fixture
def said(receiver: Receiver) -> Callable[[str], list[dict[str, Any]]]:
    """The events whose kind contains a word."""

    def of(word: str) -> list[dict[str, Any]]:
        return [event for event in receiver.of(packet.EVENT) if word in event["kind"]]

    return of
