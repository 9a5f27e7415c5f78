"""A real Prometheus with our rules against a real daemon that is fed over the real protocol.

All durations are shortened (the scrape interval to a second, `for` and `keep_firing_for` to nothing); all expressions
are the deployed ones.
"""

from __future__ import annotations

import json
import math
import queue
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from steersman.v1 import telemetry_pb2 as pb
from steersman.v1 import telemetry_pb2_grpc as rpc
from steersman.v1 import types_pb2 as types

ROWS = 1200
AT_ONCE = 400
STEP_S = 0.02

# One a row; NaN where the row has none.
Columns = Mapping[str, Sequence[float]]


def wait_for(what: str | Callable[[], str], condition: Callable[[], Any], seconds: float) -> Any:
    """Ask until `condition` is true, and give back what it gave; `what` says in the failure what never came."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (got := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s for {what if isinstance(what, str) else what()}")
        pause.wait(0.2)
    return got


def every(step: int, period: int, value: float) -> float:
    return value if step % period == 0 else math.nan


def falling(noise: random.Random, step: int) -> float:
    return 2.5 * math.pow(step + 20, -0.2) * math.exp(noise.gauss(0, 0.02))


def curves(loss: Callable[[random.Random, int], float], cosine: float, norm: float = 1.0, **more: Any) -> Columns:
    """A job's series: its loss by step, and the direction that successive gradients agree on."""
    noise = random.Random(1)
    steps = range(ROWS)
    found: dict[str, list[float]] = {
        "loss": [loss(noise, step) for step in steps],
        "lr/0": [1e-2] * ROWS,
        "lr/1": [1e-3] * ROWS,
        "step_time": [STEP_S] * ROWS,
        "hypergrad_cos": [every(step, 10, noise.gauss(cosine, 0.08)) for step in steps],
        "update_norm": [every(step, 10, norm * math.exp(noise.gauss(0, 0.05))) for step in steps],
        "weight_norm": [every(step, 10, 40.0) for step in steps],
    }
    found["grad_norm"] = [math.exp(noise.gauss(0, 0.1)) for _ in steps]
    found.update({name: [curve(noise, step) for step in steps] for name, curve in more.items()})
    return found


def nonfinite(noise: random.Random, step: int) -> float:
    return math.nan if step > 900 else falling(noise, step)


def diverging(noise: random.Random, step: int) -> float:
    return falling(noise, step) * math.exp(min(max(step - 700, 0) * 0.01, 3.0))


def hot(noise: random.Random, step: int) -> float:
    return 2.5 if step < 4 else 2.9 * math.exp(noise.gauss(0, 0.1))


def flat(noise: random.Random, step: int) -> float:
    return max(falling(noise, min(step, 200)), 0.5)


def memorised(noise: random.Random, step: int) -> float:
    rising = 1.0 + 1.5 * max(step - 300, 0) / ROWS if step > 300 else 2.0 - step / 300
    return every(step, 25, rising * math.exp(noise.gauss(0, 0.005)))


JOBS: dict[str, tuple[types.Policy.ValueType, Columns]] = {
    "nonfinite": (types.POLICY_OBSERVE, curves(nonfinite, 0.0, 0.004)),
    "diverging": (types.POLICY_OBSERVE, curves(diverging, 0.0, 0.004)),
    "hot": (types.POLICY_APPROVE, curves(hot, -0.35, 8.0)),
    "flat": (types.POLICY_OBSERVE, curves(flat, 0.0, 0.004)),
    "memorising": (types.POLICY_OBSERVE, curves(falling, 0.0, 0.004, val_loss=memorised)),
}


def column(name: str, values: Sequence[float]) -> pb.Column:
    # A loss that is NaN is a value; a series that is sampled every tenth step has none in between.
    sparse = name not in ("loss", "grad_norm")
    bits = bytearray((len(values) + 7) // 8)
    for index, value in enumerate(values):
        if not (sparse and math.isnan(value)):
            bits[index // 8] |= 1 << index % 8
    return pb.Column(name=name, values=struct.pack(f"<{len(values)}d", *values), present=bytes(bits))


def batch(attempt: str, first: int, rows: int, start: float, columns: Columns) -> pb.Batch:
    steps = range(first, first + rows)
    return pb.Batch(
        attempt_id=attempt,
        first_seq=first + 1,
        rows=rows,
        steps=struct.pack(f"<{rows}q", *steps),
        times=struct.pack(f"<{rows}d", *(start + step * STEP_S for step in steps)),
        columns=[column(name, values[first : first + rows]) for name, values in columns.items()],
    )


class Agent:
    """A telemetry stream; what the daemon answers is gathered in `answers`."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._requests: queue.Queue[pb.StreamRequest | None] = queue.Queue()
        self.answers: list[pb.StreamResponse] = []
        self.ended: grpc.RpcError | None = None
        self._call = rpc.TelemetryServiceStub(self._channel).Stream(
            iter(self._requests.get, None), wait_for_ready=True, timeout=300
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            self.answers.extend(self._call)
        except grpc.RpcError as error:
            self.ended = error

    def send(self, **message: Any) -> None:
        self._requests.put(pb.StreamRequest(**message))

    def train(self, job: str, policy: types.Policy.ValueType, columns: Columns, start: float) -> None:
        """Open a job and send all its rows."""
        attempt = f"{job:0>32}"
        optimizer = pb.OptimizerInfo(class_name="torch.optim.adamw.AdamW", groups=["0", "1"], overlay="effective")
        rank = pb.RankInfo(rank=0, pid=1, torch_version="2.13.0", device="cpu", optimizers=[optimizer])
        self.send(
            job_hello=pb.JobHello(
                attempt_id=attempt,
                job=job,
                world_size=1,
                policy=policy,
                host="host-1",
                started_at=start,
                ranks=[rank],
                planned_steps=2 * ROWS,
            )
        )
        for first in range(0, ROWS, AT_ONCE):
            self.send(batches=pb.BatchGroup(batches=[batch(attempt, first, AT_ONCE, start, columns)]))

    def durable(self) -> set[str]:
        """The jobs whose rows are all on disk."""
        assert self.ended is None, self.ended
        acks = (answer.batch_ack for answer in self.answers if answer.WhichOneof("message") == "batch_ack")
        return {ack.attempt_id.lstrip("0") for ack in acks if ack.durable_seq == ROWS}

    def close(self) -> None:
        self._requests.put(None)
        self._call.cancel()
        self._reader.join(10)
        self._channel.close()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass
class Station:
    """Daemon, agent and Prometheus."""

    folder: Path
    listen: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    metrics: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    web: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                words, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def answers(self, name: str, address: str, path: str) -> bool:
        """Whether the process serves; fails the test where it has ended."""
        if self.processes[name].poll() is not None:
            pytest.fail(f"{name} ended:\n{(self.folder / f'{name}.log').read_text()[-4000:]}")
        return self.get(address, path) is not None

    def get(self, address: str, path: str, **parameters: str) -> str | None:
        """The body, or None where nobody answers."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        try:
            with urllib.request.urlopen(f"http://{address}{path}{query}", timeout=10) as answer:
                body: str = answer.read().decode()
                return body
        except OSError:
            return None

    def query(self, expression: str) -> list[dict[str, Any]]:
        body = self.get(self.web, "/api/v1/query", query=expression)
        found: list[dict[str, Any]] = json.loads(body)["data"]["result"] if body else []
        return found

    def firing(self) -> set[tuple[str, str]]:
        """Alerts and the jobs they are for."""
        body = self.get(self.web, "/api/v1/alerts")
        alerts = json.loads(body)["data"]["alerts"] if body else []
        return {(a["labels"]["alertname"], a["labels"].get("job", "")) for a in alerts if a["state"] == "firing"}

    def page(self) -> str:
        body = self.get(self.metrics, "/metrics")
        assert body is not None
        return body


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory, deploy: Path) -> Iterator[Station]:
    made = Station(tmp_path_factory.mktemp("station"))
    rules = (deploy / "prometheus" / "steersman.rules.yaml").read_text(encoding="utf-8")
    rules = re.sub(r"^(\s+)(for|keep_firing_for): \w+$", r"\1\2: 0s", rules, flags=re.MULTILINE)
    (made.folder / "steersman.rules.yaml").write_text(rules, encoding="utf-8")
    config = yaml.safe_load((deploy / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {name: "1s" for name in config["global"]}
    del config["alerting"]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [made.metrics]}]
    (made.folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")

    store = f"sqlite:///{made.folder / 'store.db'}"
    serve = ("serve", "--listen", made.listen, "--metrics", made.metrics, "--store", store)
    made.start("daemon", sys.executable, "-c", "from steersman.cli.main import main; main()", *serve)
    prometheus = ("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn")
    made.start("prometheus", *prometheus, f"--web.listen-address={made.web}")
    agent: Agent | None = None
    try:
        wait_for("the daemon", lambda: made.answers("daemon", made.metrics, "/healthz"), 60)
        wait_for("Prometheus", lambda: made.answers("prometheus", made.web, "/-/ready"), 60)
        agent = Agent(made.listen)
        hello = pb.Hello(protocol_min=1, protocol_max=1, agent_id="agent", host="host-1", agent_version="0")
        agent.send(hello=hello)
        start = time.time() - ROWS * STEP_S
        for job, (policy, columns) in JOBS.items():
            agent.train(job, policy, columns, start)
        wait_for("all rows on disk", lambda: agent.durable() == set(JOBS), 60)
        yield made
    finally:
        if agent is not None:
            agent.close()
        for name in list(made.processes):
            made.stop(name)


@pytest.mark.e2e
def test_page_is_as_prometheus_wants_it(station: Station, run_tool: Callable[..., str]) -> None:
    assert run_tool("promtool", "check", "metrics", stdin=station.page()) == ""


@pytest.mark.e2e
def test_page_has_what_is_documented_and_nothing_else(station: Station, documented: dict[str, set[str]]) -> None:
    seen: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", station.page(), re.MULTILINE):
        if not name.startswith("steersman_process_") and not name.endswith("_created"):
            seen.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    assert seen == documented


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("alert", "job"),
    [
        ("SteersmanJobNonfinite", "nonfinite"),
        ("SteersmanJobDiverged", "diverging"),
        ("SteersmanLearningRateTooHigh", "hot"),
        ("SteersmanAdjustmentWaiting", "hot"),
        ("SteersmanJobPlateau", "flat"),
        ("SteersmanJobOverfitting", "memorising"),
        # The agent has said nothing since, and neither that a job has ended.
        ("SteersmanJobSilent", "flat"),
    ],
)
def test_alert_fires(station: Station, alert: str, job: str) -> None:
    wait_for(f"{alert} of {job}", lambda: (alert, job) in station.firing(), 60)


@pytest.mark.e2e
def test_no_alert_fires_for_a_job_without_cause(station: Station) -> None:
    silent = wait_for("all jobs silent", lambda: _of("SteersmanJobSilent", station) == set(JOBS), 60)
    assert silent
    assert _of("SteersmanJobNonfinite", station) == {"nonfinite"}
    assert _of("SteersmanJobDiverged", station) == {"diverging"}
    assert _of("SteersmanLearningRateTooHigh", station) == {"hot"}
    assert _of("SteersmanAdjustmentWaiting", station) == {"hot"}
    assert _of("SteersmanJobOverfitting", station) == {"memorising"}
    assert _of("SteersmanDaemonDown", station) == set()


def _of(alert: str, station: Station) -> set[str]:
    return {job for name, job in station.firing() if name == alert}


@pytest.mark.e2e
def test_every_selector_returns_data(station: Station, selectors: dict[str, str]) -> None:
    empty = dict(selectors)

    def answered() -> bool:
        for selector in [s for s in empty if station.query(f"last_over_time({s}[10m])")]:
            del empty[selector]
        return not empty

    wait_for(lambda: f"data behind {empty}", answered, 30)


@pytest.mark.e2e
def test_every_expression_returns_something_or_nothing_but_no_error(
    station: Station, expressions: dict[str, str]
) -> None:
    """A join of many to many, for one, is only found when there are data."""
    for where, expression in expressions.items():
        body = station.get(station.web, "/api/v1/query", query=expression)
        assert body is not None, f"{where}: {expression}"
        assert json.loads(body)["status"] == "success"


@pytest.mark.e2e
def test_rules_are_healthy(station: Station) -> None:
    body = station.get(station.web, "/api/v1/rules")
    assert body is not None
    rules = [rule for group in json.loads(body)["data"]["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}


@pytest.mark.e2e
def test_annotations_are_filled_in(station: Station) -> None:
    body = station.get(station.web, "/api/v1/alerts")
    assert body is not None
    texts = [text for alert in json.loads(body)["data"]["alerts"] for text in alert["annotations"].values()]
    assert texts
    assert not [text for text in texts if "{{" in text or "error" in text.lower() or "<no value>" in text]
    assert any("It would use" in text for text in texts)


@pytest.mark.e2e
def test_a_daemon_that_is_gone_is_noticed(station: Station) -> None:
    """The last one: it stops the daemon."""
    station.stop("daemon")
    wait_for("SteersmanDaemonDown", lambda: ("SteersmanDaemonDown", "steersman") in station.firing(), 30)
