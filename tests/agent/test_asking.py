"""A question of the daemon on its way to a probe, and the answer on its way back."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.agent.test_adjusting import TRAIN

from steersman.agent.probe import packet
from steersman.agent.reception import Reception
from steersman.agent.roster import Roster
from steersman.v1 import telemetry_pb2 as pb

if TYPE_CHECKING:
    from tests.agent.conftest import FakeTelemetry, Home, Until

ATTEMPT = "00000000-0000-4000-8000-000000000001"


class Connected:
    """A probe's connection, as the agent sees it."""

    process = "1:1"
    attempt_id = ""
    rank = -1
    bad_packets = 0
    launcher = said_goodbye = False

    def __init__(self) -> None:
        self.heard: list[tuple[int, dict[str, Any]]] = []

    def send(self, kind: int, **message: Any) -> None:
        self.heard.append((kind, message))


@pytest.fixture
def roster(tmp_path: Path) -> Roster:
    return Roster(tmp_path, "host-1", "ann", lambda: 1.0)


@pytest.fixture
def probe(roster: Roster) -> Any:
    client: Any = Connected()
    reception = Reception(roster, lambda: 1.0)
    hello = {"attempt_id": ATTEMPT, "rank": 0, "job": "run"}
    reception.received(client, packet.pack_json(packet.HELLO, hello))
    client.says = lambda kind, message: reception.received(client, packet.pack_json(kind, message))
    return client


def question(rank: int = 0) -> pb.StreamResponse:
    return pb.StreamResponse(inquiry=pb.Inquiry(inquiry_id="q-1", attempt_id=ATTEMPT, rank=rank))


def answers(roster: Roster) -> list[pb.Provenance]:
    (delivery,) = roster._deliveries.values()
    delivery.welcome({})
    return [r.provenance for r in delivery.words(1.0) if r.WhichOneof("message") == "provenance"]


def test_a_question_goes_to_the_probe_of_its_rank_and_its_answer_to_all_who_asked(roster: Roster, probe: Any) -> None:
    roster.answer(question())
    assert probe.heard[-1] == (packet.ASK, {"id": "q-1"})
    sources = [["loss", 2.5, "from a line"], ["val_loss", None, "none"]]
    probe.says(packet.ANSWER, {"ids": ["q-1", "q-2"], "step": 9, "sources": sources})
    one, two = answers(roster)
    assert (one.inquiry_id, two.inquiry_id, one.step, one.rank) == ("q-1", "q-2", 9, 0)
    assert [(s.series, s.HasField("value"), s.value, s.words) for s in one.sources] == [
        ("loss", True, 2.5, "from a line"),
        ("val_loss", False, 0.0, "none"),
    ]
    assert answers(roster) == []


def test_of_another_agents_rank_nothing_is_said(roster: Roster, probe: Any) -> None:
    heard = len(probe.heard)
    roster.answer(question(rank=1))
    assert (len(probe.heard), answers(roster)) == (heard, [])


def test_a_probe_that_is_gone_is_said(roster: Roster, probe: Any) -> None:
    roster.clients.clear()
    roster.answer(question())
    (answer,) = answers(roster)
    assert (answer.step, answer.problem) == (-1, "the probe of rank 0 is not connected to its agent on host-1")


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"ids": ["q"], "step": 2**80, "sources": []},
        {"ids": ["q"], "step": 1, "sources": [["loss"]]},
        {"ids": ["q"], "step": 1, "sources": [["loss", "x", "words"]]},
        {"ids": 5, "step": 1, "sources": []},
    ],
)
def test_an_answer_that_cannot_be_read_harms_nobody(message: Any, roster: Roster, probe: Any) -> None:
    probe.says(packet.ANSWER, message)
    assert probe.bad_packets == 1
    assert answers(roster) == []


def test_an_answer_is_bounded(roster: Roster, probe: Any) -> None:
    sources = [["s" * 80, 1.0, "w" * 560]] * 90
    probe.says(packet.ANSWER, {"ids": ["q"] * 100, "step": 1, "sources": sources})
    found = answers(roster)
    assert len(found) == 16
    assert (len(found[0].sources), len(found[0].sources[0].words), len(found[0].sources[0].series)) == (64, 512, 64)


async def test_a_real_job_answers(home: Home, daemon: FakeTelemetry, until: Until) -> None:
    (home.root / "train.py").write_text(TRAIN)
    process = await home.run("run", "--daemon", daemon.address, "--", sys.executable, "train.py")
    await until(lambda: (seen := daemon.job("train")) is not None and seen.rows.get(0))
    (attempt,) = daemon.jobs
    inquiry = pb.Inquiry(inquiry_id="q-1", attempt_id=attempt, rank=0)
    daemon.outbox.put_nowait(pb.StreamResponse(inquiry=inquiry))
    await until(lambda: daemon.answers)
    (answer,) = daemon.answers
    words = {source.series: source.words for source in answer.sources}
    assert (answer.inquiry_id, answer.step > 0) == ("q-1", True)
    assert "train.py:8 in <module>" in words["optimizer"]
    assert "train.py:7 in <module>" in words["loss"]
    (home.root / "enough").touch()
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err
