"""Nothing that goes wrong with the probe reaches the job."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import steersman.agent.probe as package
from steersman.agent.probe import current, packet
from steersman.agent.probe.budget import Budget
from steersman.agent.probe.channel import Channel
from steersman.agent.probe.norm import GradientNorm


def sgd(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.05)


def test_without_an_agent_the_job_trains(start: Any, job: Any, tmp_path: Path) -> None:
    bare = job(sgd)
    losses = [bare.step() for _ in range(50)]
    probe = start(socket_path=str(tmp_path / "nobody"))
    work = job(sgd)
    assert [work.step() for _ in range(50)] == losses
    assert not probe.connected
    assert probe.failures == 0


def test_rows_wait_for_an_agent_and_come_in_order(start: Any, job: Any, tmp_path: Path, request: Any) -> None:
    start()
    work = job(sgd)
    for _ in range(30):
        work.step()
    receiver = request.getfixturevalue("receiver")
    work.until(lambda: bool(receiver.take().rows))
    assert [row["seq"] for row in receiver.rows] == [float(n) for n in range(1, len(receiver.rows) + 1)]
    assert len(receiver.rows) > 30


def test_an_agent_that_dies_is_found_again(start: Any, receiver: Any, job: Any, tmp_path: Path) -> None:
    probe = start()
    work = job(sgd)
    for _ in range(5):
        work.step()
    assert len(receiver.take().rows) == 5
    receiver.hang_up()
    os.unlink(receiver.path)
    for _ in range(5):
        work.step()
    assert not probe.connected
    successor = type(receiver)(Path(receiver.path))
    work.until(lambda: len(successor.take().rows) > 5)
    # HELLO and SCHEMA come first on a new connection, and numbers go on without a hole.
    assert [kind for kind, _ in successor.messages][:2] == [packet.HELLO, packet.SCHEMA]
    assert [row.seq for row in successor.raw] == list(range(6, 6 + len(successor.raw)))
    successor.hang_up()
    assert probe.failures == 0


def test_what_is_dropped_is_counted_and_said_and_leaves_no_hole(receiver: Any) -> None:
    channel = Channel(receiver.path, lambda: {}, keep=10)
    channel.declare(0, packet.schema(0, [("loss", "")]))
    pack = packet.row_struct(1).pack
    for step in range(25):
        channel.send_row(pack(packet.ROW, packet.VERSION, 0, channel.next_seq, step, 0.0, 1, 1.0), 0)
    channel.tend()
    receiver.take()
    assert [row.seq for row in receiver.raw] == list(range(1, 11))
    assert [row.step for row in receiver.raw] == list(range(15, 25))
    (event,) = receiver.of(packet.EVENT)
    assert (event["kind"], event["count"]) == ("rows_dropped", 15)
    channel.close()


def test_a_full_socket_is_not_waited_for(receiver: Any, start: Any, job: Any) -> None:
    probe = start()
    work = job(sgd)
    for _ in range(1500):
        work.step()
    assert probe._channel._rows, "the socket took it all: this test shows nothing"
    # The receiver wakes up: everything is there, in order.
    work.until(lambda: len(receiver.take().rows) >= 1500)
    assert [row.seq for row in receiver.raw] == list(range(1, len(receiver.raw) + 1))
    assert probe._channel.dropped == 0


def test_a_bug_inside_is_said_once_and_switches_the_probe_off(
    start: Any, receiver: Any, job: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bare = job(sgd)
    losses = [bare.step() for _ in range(40)]
    probe = start()

    def broken(*args: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(GradientNorm, "take", broken)
    work = job(sgd)
    assert [work.step() for _ in range(40)] == losses
    events = receiver.of(packet.EVENT)
    assert [event["kind"] for event in events] == ["probe_failed", "probe_off"]
    assert "ZeroDivisionError: a bug" in events[0]["message"]
    assert probe.failures == 5
    assert capfd.readouterr() == ("", "")


def test_a_probe_that_gives_up_takes_its_overlay_off(
    probe: Any, receiver: Any, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = job(sgd)
    work.step()
    receiver.command(factor=0.5)
    work.until(lambda: "settled" in receiver.states())

    def broken(*args: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(type(probe._steps), "_read_lrs", broken)
    for _ in range(10):
        work.step()
        assert work.optimizer.param_groups[0]["lr"] == 0.05


def test_a_child_that_does_not_train_says_nothing(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    for _ in range(3):
        work.step()
    child = os.fork()
    if child == 0:
        probe.close()
        os._exit(0 if not probe.connected else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    work.step()
    receiver.take()
    assert [row.seq for row in receiver.raw] == [1, 2, 3, 4]
    assert receiver.of(packet.BYE) == []
    assert len(receiver.of(packet.HELLO)) == 1


def test_everything_is_put_back(start: Any, receiver: Any, job: Any) -> None:
    module: Any = sys.modules["torch.optim.optimizer"]
    places = [
        (torch.autograd, "backward"),
        (torch.nn.functional, "cross_entropy"),
        (torch.nn.functional, "mse_loss"),
        (sys.modules["torch.nn.utils.clip_grad"], "_clip_grads_with_norm_"),
        (sys.modules["torch.nn.utils.clip_grad"], "_get_total_norm"),
        (torch.amp.GradScaler, "scale"),
    ]
    before = [getattr(holder, name) for holder, name in places]
    hooks = len(module._global_optimizer_pre_hooks)
    probe = start()
    work = job(sgd)
    work.step()
    assert [getattr(holder, name) for holder, name in places] != before
    probe.close()
    assert all(getattr(holder, name) is old for (holder, name), old in zip(places, before, strict=True))
    assert len(module._global_optimizer_pre_hooks) == hooks
    assert not work.optimizer._optimizer_step_pre_hooks
    assert not work.optimizer._optimizer_step_post_hooks
    assert current() is None
    work.step()


def test_one_probe_a_process_under_both_names(start: Any, receiver: Any, tmp_path: Path) -> None:
    """`steersman run` carries a copy of two folders, which needs nothing else and finds the same probe."""
    root = tmp_path / "copy" / "_steersman"
    source = Path(package.__file__).parent
    shutil.copytree(source, root / "agent" / "probe")
    shutil.copytree(source.parent.parent / "schedule", root / "schedule")
    for folder in (root, root / "agent"):
        (folder / "__init__.py").touch()
    script = """
import sys
import _steersman.agent.probe as copy
assert "torch" not in sys.modules, "importing the probe imported torch"
import steersman.agent.probe as installed
assert copy is not installed
probe = copy.install(copy.ProbeConfig(attempt_id="a", job="j", socket_path="/nowhere"))
assert installed.current() is probe
assert installed.install(installed.ProbeConfig(attempt_id="b", job="k", socket_path="/nowhere")) is probe
assert probe.job == "j"
"""
    env = {**os.environ, "PYTHONPATH": str(root.parent)}
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, env=env, timeout=120)


def test_every_file_that_enters_a_job_is_python_3_9() -> None:
    source = Path(package.__file__).parent
    files = [*source.glob("*.py"), *(source.parent.parent / "schedule").glob("*.py")]
    assert len(files) > 15
    for file in files:
        tree = ast.parse(file.read_text(), feature_version=(3, 9))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").split(".")[0] in {*sys.stdlib_module_names, "torch"}, (
                    file.name,
                    node.module,
                )


def test_losses_can_still_be_compiled_by_torchscript(probe: Any) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(torch.nn.CrossEntropyLoss())
    assert scripted(torch.zeros(2, 3), torch.tensor([0, 1])).item() == pytest.approx(1.0986, rel=1e-3)


def test_another_thread_that_steps_is_no_end_of_ours(probe: Any, receiver: Any, job: Any) -> None:
    work, other = job(sgd), job(sgd, seed=1)

    class Meets(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            thread = threading.Thread(target=other.step)
            thread.start()
            thread.join()
            return super().step(closure)

    work.optimizer = Meets(work.model.parameters(), lr=0.05)
    work.step()
    receiver.command(factor=0.5)
    work.until(lambda: "settled" in receiver.states())
    assert work.optimizer.param_groups[0]["lr"] == other.optimizer.param_groups[0]["lr"] == 0.05
    assert probe.failures == 0


def test_the_norm_is_thinned_before_rows(start: Any) -> None:
    budget = Budget(0.01, 100e-6)
    kinds = [gap.kind for _ in range(200) for gap in budget.note(0.001, 150_000, 100_000)]
    assert kinds == ["norm_thinned"]
    assert (budget.norm_every, budget.rows_every) == (2, 1)
    kinds = [gap.kind for _ in range(200) for gap in budget.note(0.001, 250_000, 100_000)]
    assert kinds == ["rows_thinned", "norm_thinned"]
    for _ in range(400):
        budget.note(0.001, 10_000, 5_000)
    assert (budget.norm_every, budget.rows_every) == (1, 1)


def test_one_percent_of_a_long_step_is_within_the_budget() -> None:
    budget = Budget(0.01, 100e-6)
    assert [gap for _ in range(600) for gap in budget.note(0.1, 900_000, 500_000)] == []


def test_thinning_is_an_event_and_rows_go_on(start: Any, receiver: Any, job: Any) -> None:
    start(budget_floor=0.0, budget_fraction=0.0)
    work = job(sgd)
    for _ in range(450):
        work.step()
        receiver.take()
    kinds = [event["kind"] for event in receiver.of(packet.EVENT)]
    assert kinds.count("norm_thinned") == kinds.count("rows_thinned") == 2
    steps = [int(row["step"]) for row in receiver.rows]
    assert steps[:201] == list(range(201))
    assert all(step % 2 == 0 for step in steps[202:290])
    assert [row["seq"] for row in receiver.rows] == list(range(1, len(steps) + 1))


def test_a_busy_machine_switches_nothing_off() -> None:
    budget = Budget(0.01, 100e-6)
    for step in range(2000):
        # Every tenth step is dearer; every eighth, another process takes the processor away within a hook.
        spent = (140_000 if step % 10 == 0 else 60_000) + (3_000_000 if step % 8 == 0 else 0)
        assert not budget.note(0.001, spent, 40_000, kind=int(step % 10 == 0))


def test_a_norm_taken_now_and_then_still_counts() -> None:
    budget = Budget(0.01, 100e-6)
    # It is 20 µs a step on average while it is taken at every eighth step, and would be 800 at every step.
    for step in range(1600):
        every = budget.norm_every
        norm = 800_000 if step % every == 0 else 0
        budget.note(0.001, 30_000 + norm, norm, kind=int(norm > 0))
    assert 8 <= budget.norm_every <= 32
