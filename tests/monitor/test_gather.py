"""The lead rank's rows wait for the other ranks' parts, as long as it makes sense, and whatever else happens."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.monitor import test_restart
from tests.monitor.agent_in_test import AgentInTest, batch, until

from steersman.monitor import gather
from steersman.monitor.daemon import Daemon
from steersman.monitor.gather import PATIENCE_S, UNHEARD_S, Gathering, Ready
from steersman.monitor.wholenorm import UNKNOWN
from steersman.rules.samples import Column, Samples

PART = "grad_square/2x1"
Rows = list[tuple[int, float | None]]


def rows(first: int, last: int, value: float = 1.0, name: str = PART, **columns: float) -> Samples:
    """The steps from `first` up to, not including, `last`."""
    n = last - first
    told = {name: value, "loss": 2.0, **columns}
    return Samples(
        np.arange(first, last),
        np.arange(first, last, dtype=np.float64),
        {k: Column.full([v] * n) for k, v in told.items()},
    )


class Lead:
    """Two ranks, of which rank 0 leads: what was released, and in which order."""

    def __init__(self, ranks: int = 2) -> None:
        self.gathering = Gathering()
        self.ranks = ranks
        self.clock = 0.0
        self.taken: dict[int, Samples] = {}
        self.seq = 0
        self.out: Rows = []
        self.next_seq = 1

    def take(self, rank: int, samples: Samples, skipped: int = 0) -> Rows:
        places = self.gathering.note(rank, samples, self.ranks)
        if rank == 0:
            self.gathering.hold(Ready(self.seq + 1 + skipped, samples, skipped), places, self.clock)
            self.seq += len(samples) + skipped
        return self.go()

    def go(self, seconds: float = 0.0) -> Rows:
        self.clock += seconds
        found: Rows = []
        for ready in self.gathering.release(self.ranks, self.clock):
            assert ready.first_seq == self.next_seq + ready.skipped
            self.next_seq = ready.first_seq + len(ready.samples)
            norm = ready.samples.columns.get("grad_norm")
            for at, step in enumerate(ready.samples.steps.tolist()):
                known = norm is not None and norm.present[at]
                found.append((step, float(norm.values[at]) if norm is not None and known else None))
        self.out += found
        return found


def test_rows_wait_for_the_other_ranks_and_for_no_longer() -> None:
    lead = Lead()
    assert lead.take(0, rows(0, 4, 9.0)) == []
    assert lead.take(1, rows(0, 2, 16.0)) == [(0, 5.0), (1, 5.0)]
    assert lead.gathering.waiting == 2
    assert lead.take(1, rows(2, 9, 16.0)) == [(2, 5.0), (3, 5.0)]
    assert lead.take(0, rows(4, 8, 9.0)) == [(step, 5.0) for step in range(4, 8)]


def test_a_rank_that_passed_without_a_part_leaves_the_norm_unknown_at_once() -> None:
    lead = Lead()
    lead.take(0, rows(0, 3, 9.0))
    assert lead.take(1, rows(0, 1, 16.0)) == [(0, 5.0)]
    assert lead.take(1, rows(2, 3, 16.0)) == [(1, None), (2, 5.0)]


def test_what_one_says_is_unknown_is_not_waited_for() -> None:
    lead = Lead(ranks=3)
    lead.take(0, rows(0, 2, 9.0))
    assert lead.take(1, rows(0, 2, 1.0, name="grad_square/unknown")) == [(0, None), (1, None)]


def test_a_rank_that_stopped_is_waited_for_once() -> None:
    lead = Lead()
    lead.take(1, rows(0, 2, 16.0))
    assert lead.take(0, rows(0, 4, 9.0)) == [(0, 5.0), (1, 5.0)]
    assert lead.go(PATIENCE_S) == []
    assert lead.go(1.0) == [(2, None), (3, None)]
    assert lead.take(0, rows(4, 5, 9.0)) == [(4, None)]
    # It catches up, and is waited for again.
    lead.take(1, rows(2, 5, 16.0))
    assert lead.take(0, rows(5, 7, 9.0)) == []
    assert lead.take(1, rows(5, 7, 16.0)) == [(5, 5.0), (6, 5.0)]


def test_a_rank_that_never_came_is_given_up_sooner() -> None:
    lead = Lead()
    lead.take(0, rows(0, 2))
    assert lead.go(UNHEARD_S) == []
    assert lead.go(1.0) == [(0, None), (1, None)]


def test_a_rank_s_own_norm_is_no_job_s_norm() -> None:
    lead = Lead()
    lead.take(0, rows(0, 1, 9.0, grad_norm=3.0))
    assert lead.take(1, rows(0, 1, 16.0)) == [(0, None)]
    lead.take(0, rows(1, 2, 9.0, grad_norm=12.0))
    assert lead.take(1, rows(1, 2, 16.0, grad_norm=12.0)) == [(1, 13.0)]


def test_rows_without_a_part_keep_what_they_have() -> None:
    lead = Lead()
    plain = Samples(np.array([0]), np.array([0.0]), {"grad_norm": Column.full([7.0])})
    assert lead.take(0, plain) == [(0, 7.0)]


def test_a_job_that_resumed_is_not_mixed_with_what_it_was() -> None:
    lead = Lead()
    lead.take(0, rows(0, 3, 9.0))
    lead.take(1, rows(0, 3, 16.0))
    lead.take(0, rows(1, 3, 144.0))
    assert lead.take(1, rows(1, 3, 25.0)) == [(1, 13.0), (2, 13.0)]
    # The same step again, as after a run of one step.
    lead.take(0, rows(2, 3, 9.0))
    assert lead.take(1, rows(2, 3, 16.0)) == [(2, 5.0)]


def test_rows_that_are_lost_are_said_in_order() -> None:
    lead = Lead()
    lead.take(0, rows(0, 2, 9.0))
    lead.take(0, rows(5, 7, 9.0), skipped=3)
    assert lead.take(1, rows(0, 7, 16.0)) == [(step, 5.0) for step in (0, 1, 5, 6)]


def test_memory_is_bounded_whoever_lags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MAX_HELD", 10)
    monkeypatch.setattr(gather, "MAX_PARTS", 80)
    behind = Lead()
    behind.take(1, rows(0, 1, 16.0))
    for step in range(0, 100, 5):
        behind.take(0, rows(step, step + 5, 9.0))
        assert behind.gathering.waiting <= 10
    assert behind.out[0] == (0, 5.0)
    assert {norm for _, norm in behind.out[1:]} == {None}
    ahead = Lead()
    ahead.take(1, rows(0, 1000, 16.0))
    ahead.take(0, rows(0, 1000, 9.0))
    assert ahead.out == [(step, 5.0 if step < 40 else None) for step in range(1000)]
    assert set(ahead.gathering._kept.values()) == {0}
    assert not ahead.gathering._parts


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_where_the_norm_is_unknown_the_direction_is_waited_for_all_the_same(order: tuple[int, int]) -> None:
    lead = Lead()
    sums = {"direction_dot/2x1": -1.0, "direction_grad/2x1": 2.0, "direction_update/2x1": 0.5}
    told: list[Samples] = []
    for rank in order:
        samples = rows(0, 1, 1.0, UNKNOWN, **sums)
        places = lead.gathering.note(rank, samples, 2)
        if rank == 0:
            lead.gathering.hold(Ready(1, samples, 0), places, 0.0)
        told += [ready.samples for ready in lead.gathering.release(2, 0.0)]
    assert [samples.columns["hypergrad_cos"].values.tolist() for samples in told] == [[1.0]]


def test_a_rank_s_own_direction_stands_where_it_is_no_sum_of_parts() -> None:
    lead = Lead()
    there, absent = np.array([False, True]), np.array([True, False])
    sums = {"direction_dot/2x1": -1.0, "direction_grad/2x1": 2.0, "direction_update/2x1": 0.5}
    columns = {name: Column(np.full(2, value), there) for name, value in sums.items()}
    samples = Samples(
        np.arange(2), np.zeros(2), {**columns, "hypergrad_cos": Column(np.array([0.3, 0.0]), absent, "1")}
    )
    lead.gathering.hold(Ready(1, samples, 0), lead.gathering.note(0, samples, 2), 0.0)
    lead.gathering.note(1, samples, 2)
    (ready,) = lead.gathering.release(2, 0.0)
    assert ready.samples.columns["hypergrad_cos"].values.tolist() == [0.3, 1.0]
    assert ready.samples.columns["hypergrad_cos"].present.all()


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, int]], set[int]]:
    """How the rows of some ranks arrive, in pieces, and after which of them the daemon starts again."""
    ranks, steps = draw(st.integers(2, 3)), draw(st.integers(1, 12))
    pieces: dict[int, list[tuple[int, int, int]]] = {}
    for rank in range(ranks):
        cuts = sorted({0, steps, *draw(st.lists(st.integers(0, steps), max_size=4))})
        pieces[rank] = [(rank, a, b) for a, b in pairwise(cuts)]
    order = draw(st.permutations([rank for rank, found in pieces.items() for _ in found]))
    return ranks, [pieces[rank].pop(0) for rank in order], draw(st.sets(st.integers(0, len(order))))


@given(histories(), st.randoms(use_true_random=False))
def test_how_rows_arrive_and_restarts_change_nothing(
    history: tuple[int, list[tuple[int, int, int]], set[int]], chance: random.Random
) -> None:
    ranks, arrivals, restarts = history
    steps = max(b for _, _, b in arrivals)
    squares = [[float(chance.randint(0, 9)) for _ in range(steps)] for _ in range(ranks)]
    name = f"grad_square/{ranks}x1"
    lead = Lead(ranks)
    stored: dict[int, list[tuple[int, float]]] = {rank: [] for rank in range(ranks)}

    def some(rank: int, first: int, last: int) -> Samples:
        return Samples(np.arange(first, last), np.zeros(last - first), {name: Column.full(squares[rank][first:last])})

    def series(from_step: int) -> Mapping[str, Mapping[int, Samples]]:
        held = {}
        for rank, found in stored.items():
            kept = [(step, x) for step, x in found if step >= from_step]
            if kept:
                values = Column.full([x for _, x in kept])
                held[rank] = Samples(np.array([s for s, _ in kept]), np.zeros(len(kept)), {name: values})
        return {name: held}

    came = 0
    for at, (rank, first, last) in enumerate(arrivals):
        if at in restarts:
            lead.gathering = Gathering.from_json(json.loads(json.dumps(lead.gathering.to_json(0))))
            lead.gathering.refill(0, ranks, series)
            lead.seq = lead.next_seq - 1
            if came > lead.seq:
                lead.take(0, some(0, lead.seq, came))  # its agent has what was not durable
        lead.take(rank, some(rank, first, last))
        if rank == 0:
            came = last
        else:
            stored[rank] += [(step, squares[rank][step]) for step in range(first, last)]
    assert lead.out == [(step, math.sqrt(sum(squares[rank][step] for rank in range(ranks)))) for step in range(steps)]


Start = Callable[..., Awaitable[Daemon]]


async def _taken(agent: AgentInTest, rank: int, seq: int) -> None:
    await until(lambda: agent.taken.get(("attempt-1", rank), 0) >= seq, "the rows")


async def _sharded(start: Start, name: str, kills: random.Random | None, tmp_path: Path) -> dict[str, Any]:
    """Two ranks that send their parts in pieces; each daemon may be thrown over between two of them."""
    steps, chance = 240, random.Random(7)
    squares = {rank: [chance.uniform(0.1, 4.0) for _ in range(steps)] for rank in (0, 1)}
    daemon = await start(store=name, clock=lambda: 2_000.0)
    agent = AgentInTest(str(daemon.listen))
    await agent.open("attempt-1", world_size=2)
    sent = {0: 0, 1: 0}
    lengths = random.Random(3)
    while min(sent.values()) < steps:
        rank = min(sent, key=lambda r: (sent[r] >= steps, lengths.random()))
        n = min(lengths.randint(1, 9), steps - sent[rank])
        part = slice(sent[rank], sent[rank] + n)
        told = {
            "loss": [3.0 + 0.01 * (s % 7) for s in range(part.start, part.stop)],
            PART: squares[rank][part],
            # Each rank's step goes down its gradient by a tenth of it: what is whole has a cosine of 1.
            "direction_dot/2x1": [-0.1 * square for square in squares[rank][part]],
            "direction_grad/2x1": squares[rank][part],
            "direction_update/2x1": [0.01 * square for square in squares[rank][part]],
            "promise_dot/2x1": [-0.1 * square for square in squares[rank][part]],
            # The job had clipped to half the norm.
            "promise_grad/2x1": [square / 4.0 for square in squares[rank][part]],
        }
        await agent.batches(batch("attempt-1", sent[rank] + 1, told, rank=rank))
        sent[rank] += n
        await _taken(agent, rank, sent[rank])
        if kills is not None and kills.random() < 0.1:
            await daemon.stop()
            await agent.close()
            daemon = await start(store=name, clock=lambda: 2_000.0)
            agent = AgentInTest(str(daemon.listen))
            welcome = await agent.open("attempt-1", world_size=2)
            sent = {0: 0, 1: 0} | {mark.rank: mark.durable_seq for mark in welcome.durable}
            agent.durable = {("attempt-1", rank): seq for rank, seq in sent.items()}
    for rank in (0, 1):
        await agent.all_durable("attempt-1", steps, rank)
    await agent.close()
    await daemon.drain()
    await daemon.stop()
    found = test_restart.everything(f"sqlite:///{tmp_path / name}")
    want = [math.sqrt(a + b) for a, b in zip(squares[0], squares[1], strict=True)]
    assert found["series"]["grad_norm", 0][2] == want
    assert found["series"]["hypergrad_cos", 0][2] == pytest.approx([1.0] * steps)
    assert found["series"]["update_norm", 0][2] == pytest.approx([0.1 * norm for norm in want])
    assert found["series"]["predicted_decrease", 0][2] == pytest.approx([0.2 * norm * norm for norm in want])
    for name in ("grad_norm", "hypergrad_cos", "update_norm", "predicted_decrease"):
        assert (name, 1) not in found["series"]
    return found


@pytest.mark.parametrize("seed", [1, 2])
async def test_killed_or_not_the_same_norm_is_stored(start: Start, tmp_path: Path, seed: int) -> None:
    calm = await _sharded(start, "calm.db", None, tmp_path)
    killed = await _sharded(start, "killed.db", random.Random(seed), tmp_path)
    for part in calm:
        assert killed[part] == calm[part], part


async def test_ranks_that_were_attached_to_and_count_alike_have_a_norm(start: Start, connect: Any) -> None:
    daemon = await start()
    agent = connect(daemon)
    await agent.open("attempt-1", world_size=2, way_in="attach")
    # The second rank was entered two steps later.
    early = batch("attempt-1", 1, {"loss": [1.0] * 4, PART: [9.0] * 4}, rank=0, start=70)
    late = batch("attempt-1", 1, {"loss": [1.0] * 2, PART: [16.0] * 2}, rank=1, start=72)
    await agent.batches(early, late)
    await agent.all_durable("attempt-1", 4, 0)
    await agent.all_durable("attempt-1", 2, 1)
    found = await daemon.cycle.read(lambda jobs: jobs.store.series("attempt-1", "grad_norm")[0])
    assert (found.steps.tolist(), found.columns["grad_norm"].values.tolist()) == ([72, 73], [5.0, 5.0])


async def test_who_was_attached_to_and_does_not_count_has_no_norm_of_several_ranks(start: Start, connect: Any) -> None:
    daemon = await start()
    agent = connect(daemon)
    await agent.open("attempt-1", world_size=2, way_in="attach")
    await agent.batches(*(batch("attempt-1", 1, {"loss": [1.0], PART: [4.0]}, rank=rank) for rank in (0, 1)))
    await agent.all_durable("attempt-1", 1, 0)
    await agent.all_durable("attempt-1", 1, 1)
    names = await daemon.cycle.read(lambda jobs: [s.name for s in jobs.store.list_series("attempt-1")])
    assert names == [PART, "loss"]
