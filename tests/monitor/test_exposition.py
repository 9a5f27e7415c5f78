"""The page of metrics: every documented name, true values, bounded, and nothing for promtool to say."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from tests.monitor.agent_in_test import AgentInTest, batch, until
from tests.monitor.scripted_rules import ScriptedRules

from steersman.monitor.daemon import Daemon
from steersman.monitor.exposition import MOST_JOBS, Exposition, escape
from steersman.monitor.meters import Meters
from steersman.monitor.settings import Address
from steersman.v1 import types_pb2 as types

Start = Callable[..., Awaitable[Daemon]]
Connect = Callable[[Daemon], AgentInTest]
DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


async def fetch(daemon: Daemon, path: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{daemon.metrics_address}{path}", timeout=20) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(get)


@pytest.fixture
async def steered(start: Start, connect: Connect) -> Daemon:
    """A daemon whose job has something for every series."""
    daemon = await start(ScriptedRules(fire_at=frozenset({10})), metrics=Address("127.0.0.1", 0))
    agent = connect(daemon)
    await agent.open("a1", job='quo"te\\d', policy=types.POLICY_AUTO)
    n = 40
    columns = {
        "loss": [3.0] * n,
        "lr/0": [0.1] * n,
        "grad_norm": [2.5] * n,
        "val_loss": [3.5] * n,
        "val_loss/b": [4.0] * n,
    }
    await agent.batches(batch("a1", 1, columns), batch("a1", 45, {"loss": [3.0]}, skipped=4))
    await agent.all_durable("a1", 45)
    await until(lambda: agent.commands, "the command")
    return daemon


async def test_every_documented_name_is_there_and_no_other(steered: Daemon) -> None:
    _, page = await fetch(steered, "/metrics")
    names = {m.group(1) for m in re.finditer(r"^# TYPE (\S+)", page, re.MULTILINE)}
    documented = set(re.findall(r"^\| `(steersman_\w+[a-z])` ", DOCS.read_text(), re.MULTILINE))
    own = {n for n in names if not n.startswith("steersman_process_") and not n.endswith("_created")}
    assert own == documented


async def test_the_values_are_those_of_the_job(steered: Daemon) -> None:
    _, page = await fetch(steered, "/metrics")
    values = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k != "job"}
            if sample.name.startswith("steersman_job_"):
                assert sample.labels["job"] == 'quo"te\\d'
            values[sample.name, *sorted(labels.items())] = sample.value
    assert values["steersman_job_step",] == 44
    assert values["steersman_job_rows_total",] == 41
    assert values["steersman_job_rows_lost_total",] == 4
    assert values["steersman_job_grad_norm",] == 2.5
    assert values["steersman_job_val_loss", ("set", "")] == 3.5
    assert values["steersman_job_val_loss", ("set", "b")] == 4.0
    assert values["steersman_job_learning_rate", ("group", "0")] == 0.1
    assert values["steersman_job_state", ("state", "running")] == 1
    assert values["steersman_job_state", ("state", "failed")] == 0
    assert values["steersman_job_adjustments_total", ("state", "approved")] == 1
    assert values["steersman_job_recommended_learning_rate",] == 0.05
    finding = ("rule", "scripted"), ("severity", "critical"), ("verdict", "lr_too_high")
    assert values["steersman_job_finding", *finding] == 1
    assert values["steersman_jobs", ("state", "running")] == 1
    assert values["steersman_ingest_rows_total",] == 41


async def test_promtool_has_nothing_to_say(steered: Daemon) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "Debian's package prometheus brings promtool; `make setup` installs it"
    _, page = await fetch(steered, "/metrics")
    said = await asyncio.to_thread(
        subprocess.run, [promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


async def test_unknown_is_left_out_and_never_zero(start: Start, connect: Connect) -> None:
    daemon = await start(metrics=Address("127.0.0.1", 0))
    agent = connect(daemon)
    await agent.open("a1")
    await until(lambda: daemon.board.all(), "the job")
    _, page = await fetch(daemon, "/metrics")
    assert 'steersman_job_info{job="run"' in page
    for name in ("step", "loss", "grad_norm", "steps_per_second", "last_sample_timestamp_seconds"):
        assert f"steersman_job_{name}{{" not in page


async def test_the_number_of_jobs_is_bounded_and_said(steered: Daemon) -> None:
    (one,) = steered.board.all()
    calm = replace(one, findings=())
    many = [
        replace(calm, name=f"job-{i}", facts=replace(one.facts, attempt_id=f"x{i}", started_at=float(i)))
        for i in range(MOST_JOBS + 5)
    ]
    loud = replace(one, name="loud", facts=replace(one.facts, attempt_id="loud", started_at=-1.0))
    page = Exposition(Meters(CollectorRegistry())).page([*many, loud]).decode()
    assert "steersman_jobs_omitted 6\n" in page
    assert 'steersman_job_info{job="loud"' in page
    assert 'steersman_job_info{job="job-5",' not in page
    assert 'steersman_job_info{job="job-6",' in page


async def test_health_and_other_paths(steered: Daemon) -> None:
    assert await fetch(steered, "/healthz") == (200, "ok\n")
    assert (await fetch(steered, "/nothing"))[0] == 404


def test_labels_are_escaped() -> None:
    assert escape('a"b\\c\nd') == 'a\\"b\\\\c\\nd'
