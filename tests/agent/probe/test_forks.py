"""Processes that come out of a watched one, and threads within it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.agent.probe.loops.clipped import Clipped
from tests.agent.probe.loops.loop import Loop
from torch.utils.data import DataLoader, Dataset

from steersman.agent.probe import current, packet

METHODS = ["fork", "spawn", "forkserver"]


class Table(Dataset[torch.Tensor]):
    """Says from within a worker whether there is a probe that talks, and computes a loss there."""

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> torch.Tensor:
        probe = current()
        with torch.no_grad():
            torch.nn.functional.mse_loss(torch.ones(2), torch.zeros(2))
        return torch.tensor([float(index), float(probe is not None and probe.connected)])


class Trains(Dataset[float]):
    """Fits something in the worker, as some augmentations do."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> float:
        loop = Loop(seed=index)
        for _ in range(3):
            loop.round()
        return loop.truth[-1].loss or 0.0


@pytest.mark.parametrize("persistent", [False, True], ids=["anew", "persistent"])
@pytest.mark.parametrize("method", METHODS)
def test_workers_of_a_data_loader_do_not_speak_for_the_job(
    method: str, persistent: bool, probe: Any, receiver: Any
) -> None:
    loop = Loop()
    loop.round()
    loader = DataLoader(
        Table(), batch_size=8, num_workers=1, multiprocessing_context=method, persistent_workers=persistent
    )
    taken = 0
    for _ in range(2):
        for batch in loader:
            assert batch[:, 1].sum() == 0
            loop.round()
            taken += 1
    assert taken == 8
    probe.close()
    assert [row["seq"] for row in receiver.take().rows] == list(range(1, 10))
    assert [row["loss"] for row in receiver.rows] == [truth.loss for truth in loop.truth]
    assert all("val_loss" not in row for row in receiver.rows)
    assert {hello["pid"] for hello in receiver.of(packet.HELLO)} == {os.getpid()}
    assert len(receiver.of(packet.BYE)) == 1


def test_a_worker_that_trains_is_told_apart_from_the_job(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.round()
    loader = DataLoader(Trains(), batch_size=4, num_workers=1, multiprocessing_context="fork")
    for _ in loader:
        loop.round()
    loop.round()
    receiver.take()
    hellos = receiver.of(packet.HELLO)
    # Whoever speaks says who he is: the agent gives another attempt to a second process of the same rank.
    assert hellos[0]["pid"] == os.getpid()
    assert all(hello["pid"] != os.getpid() for hello in hellos[1:])


@pytest.mark.parametrize("method", METHODS)
def test_a_process_started_in_mid_run_ends_well(method: str, probe: Any, receiver: Any, capfd: Any) -> None:
    loop = Loop()
    for _ in range(3):
        loop.round()
    process = multiprocessing.get_context(method).Process(target=run_some, daemon=True)  # type: ignore[attr-defined]
    process.start()
    for _ in range(3):
        loop.round()
    process.join(60)
    assert process.exitcode == 0
    loop.round()
    probe.close()
    mine = [hello for hello in receiver.of(packet.HELLO) if hello["pid"] == os.getpid()]
    assert len(mine) == 1
    assert capfd.readouterr().err == ""


def run_some() -> None:
    loop = Loop()
    for _ in range(5):
        loop.round()


def in_a_child(work: Any) -> int:
    """Fork, work in the child, and give its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told to the parent
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_that_trains_on_ends_where_the_parent_does(probe: Any, receiver: Any, tmp_path: Path) -> None:
    loop = Clipped()
    for _ in range(12):
        loop.round()

    def goes_on() -> None:
        for _ in range(20):
            loop.round()
        torch.save(loop.weights(), tmp_path / "child.pt")

    assert in_a_child(goes_on) == 0
    for _ in range(20):
        loop.round()
    child = torch.load(tmp_path / "child.pt", weights_only=True)
    assert all(map(torch.equal, child, loop.weights()))
    mine = [raw for raw in receiver.take().raw]
    assert mine[0].seq == 1


def test_a_forked_child_steps_with_the_jobs_own_learning_rate(probe: Any, receiver: Any) -> None:
    """An adjustment was agreed for the parent: the child is another job, for which nobody agreed to anything."""
    loop = Loop()
    loop.round()
    receiver.command(factor=0.5)
    rounds = 0
    while "settled" not in receiver.states():
        loop.round()
        rounds += 1
        assert rounds < 10_000

    def goes_on() -> None:
        before = loop.weights()
        loop.round()
        grads = [param.grad for param in loop.params]
        for old, new, grad in zip(before, loop.weights(), grads, strict=True):
            assert grad is not None
            assert torch.allclose(old - new, 0.05 * grad, rtol=1e-3, atol=1e-7), "the overlay is still in force"

    assert in_a_child(goes_on) == 0


def test_a_fork_between_backward_and_step_leaves_the_parents_sample_whole(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.round()
    loss = loop.loss()
    loop.optimizer.zero_grad()
    loss.backward()
    assert in_a_child(lambda: loop.optimizer.step()) == 0
    loop.optimizer.step()
    rows = [row for row in receiver.take().rows if row["step"] == 1]
    assert [row["loss"] for row in rows] == [loss.item()]


def test_a_fork_within_a_step_leaves_both_whole(probe: Any, receiver: Any) -> None:
    loop = Loop()

    def closure() -> torch.Tensor:
        loop.optimizer.zero_grad()
        loss = loop.loss()
        loss.backward()
        if in_a_child(lambda: None):
            raise AssertionError("the child died")
        return loss

    for _ in range(3):
        loop.optimizer.step(closure)
    assert [row["seq"] for row in receiver.take().rows] == [1, 2, 3]


def test_the_child_of_a_child_is_well_too(probe: Any, receiver: Any) -> None:
    loop = Loop()
    loop.round()

    def again() -> None:
        loop.round()
        assert in_a_child(loop.round) == 0

    assert in_a_child(again) == 0
    loop.round()
    # The parent's connection is its own: no child has written into it or shut it down.
    assert (2, loop.truth[-1].loss) in [(row["seq"], row.get("loss")) for row in receiver.take().rows]


def together(loops: list[Loop], rounds: int) -> None:
    """Each loop in a thread of its own, all starting at once."""
    barrier = threading.Barrier(len(loops))
    errors: list[BaseException] = []

    def work(loop: Loop) -> None:
        try:
            barrier.wait(30)
            for _ in range(rounds):
                loop.round()
        except BaseException as error:  # noqa: BLE001 - judged by the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(loop,)) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []


@pytest.fixture
def _switching() -> Any:
    """Threads take turns as often as the interpreter allows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching")
def test_threads_that_step_at_once_end_where_they_would_alone(start: Any, receiver: Any) -> None:
    bare = [Clipped(seed=seed) for seed in range(4)]
    for loop in bare:
        for _ in range(60):
            loop.round()
    probe = start()
    watched = [Clipped(seed=seed) for seed in range(4)]
    together(list(watched), 60)
    for a, b in zip(bare, watched, strict=True):
        assert all(map(torch.equal, a.weights(), b.weights()))
        assert b.optimizer.param_groups[0]["lr"] == 0.05
    probe.close()
    assert [e["message"] for e in receiver.of(packet.EVENT) if e["kind"] in ("probe_failed", "probe_off")] == []


@pytest.mark.usefixtures("_switching")
def test_under_an_adjustment_threads_leave_every_learning_rate_its_own(probe: Any, receiver: Any) -> None:
    loops = [Loop(seed=seed) for seed in range(4)]
    loops[0].round()
    receiver.command(factor=0.5)
    rounds = 0
    while "settled" not in receiver.states():
        loops[0].round()
        rounds += 1
        assert rounds < 10_000
    together(loops, 40)
    assert [loop.optimizer.param_groups[0]["lr"] for loop in loops] == [0.05] * 4
    assert [e["message"] for e in receiver.of(packet.EVENT) if e["kind"] in ("probe_failed", "probe_off")] == []


@pytest.mark.usefixtures("_switching")
def test_rows_of_threads_are_whole_and_numbered(probe: Any, receiver: Any) -> None:
    loops = [Loop(seed=seed) for seed in range(4)]
    together(loops, 60)
    probe.close()
    rows = receiver.take().rows
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps)


@pytest.mark.usefixtures("_switching")
def test_no_loss_of_one_thread_is_given_for_anothers_step(probe: Any, receiver: Any) -> None:
    """Which loss belongs to which step cannot be told from the order alone: right, a sum that is said, or unknown."""
    loops = [Loop(seed=seed) for seed in range(3)]
    for index, loop in enumerate(loops):
        loop.optimizer.param_groups[0]["lr"] = 0.01 * (index + 1)
    together(loops, 40)
    probe.close()
    known = {round(0.01 * (index + 1), 6): {truth.loss for truth in loop.truth} for index, loop in enumerate(loops)}
    wrong = []
    for row in receiver.take().rows:
        lrs = [round(value, 6) for key, value in row.items() if key.startswith("lr/")]
        if len(lrs) == 1 and row.get("backward_calls") == 1 and "loss" in row and row["loss"] not in known[lrs[0]]:
            wrong.append(row)
    assert wrong == []


def test_every_step_is_made_under_the_adjustment_in_whatever_thread(probe: Any, receiver: Any) -> None:
    """Two steps that overlap: the one that began second must not run with the job's own LR unsaid."""
    inside, done = threading.Event(), threading.Event()
    used: list[float] = []

    class Slow(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            inside.set()
            assert done.wait(30)
            return super().step(closure)

    class Noting(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            used.append(self.param_groups[0]["lr"])
            return super().step(closure)

    first, second = Loop(), Loop(seed=1)
    second.optimizer = Noting(second.params, lr=0.05)
    first.round()
    second.round()
    receiver.command(factor=0.5)
    rounds = 0
    while "settled" not in receiver.states():
        second.round()
        rounds += 1
        assert rounds < 10_000
    assert used[-1] == 0.025
    first.optimizer = Slow(first.params, lr=0.05)
    thread = threading.Thread(target=first.round)
    thread.start()
    assert inside.wait(30)
    second.round()
    done.set()
    thread.join(30)
    probe.close()
    assert used[-1] == 0.025 or any("thread" in e["message"] for e in receiver.of(packet.EVENT))
