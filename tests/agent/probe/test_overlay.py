from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from steersman.agent.probe import packet


def sgd(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.08)


def two_groups(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": params[:2], "lr": 0.08}, {"params": params[2:], "lr": 0.02}])


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=40),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 0.97**step),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=200),
    "multiplicative": lambda o: torch.optim.lr_scheduler.MultiplicativeLR(o, lambda step: 0.99),
    "chained": lambda o: torch.optim.lr_scheduler.ChainedScheduler(
        [
            torch.optim.lr_scheduler.ConstantLR(o, factor=0.1, total_iters=5),
            torch.optim.lr_scheduler.ExponentialLR(o, gamma=0.98),
        ]
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_never_see_the_overlay(name: str, receiver: Any, start: Any, job: Any) -> None:
    def own_rates(steps: int, before_each: Callable[[int], None]) -> list[float]:
        work = job(sgd)
        scheduler = SCHEDULERS[name](work.optimizer)
        rates = []
        for step in range(steps):
            before_each(step)
            work.step()
            rates.append(work.optimizer.param_groups[0]["lr"])
            assert scheduler.get_last_lr()[0] == rates[-1]
            assert work.optimizer.state_dict()["param_groups"][0]["lr"] == rates[-1]
            scheduler.step()
        return rates

    bare = own_rates(60, lambda step: None)
    start()

    def steer(step: int) -> None:
        if step == 5:
            receiver.command(1, over_steps=10, factor=0.25)
        if step == 40:
            receiver.command(2, factor=1.0)

    assert own_rates(60, steer) == bare
    rows = receiver.take().rows
    assert [row["own_lr/0"] for row in rows[5:40]] == bare[5:40]
    assert all("own_lr/0" not in row for row in rows[:5] + rows[40:])
    assert [row["lr/0"] for row in rows[:5] + rows[40:]] == bare[:5] + bare[40:]
    factors = [row["lr/0"] / row["own_lr/0"] for row in rows[5:40]]
    assert factors[:10] == pytest.approx([0.25 ** (k / 10) for k in range(1, 11)])
    assert factors[10:] == pytest.approx([0.25] * 25)
    assert receiver.states() == ["armed", "applied", "settled", "armed", "applied", "settled"]


def test_the_step_really_uses_it(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    work.step()
    receiver.command(factor=0.5)
    work.until(lambda: "settled" in receiver.states())
    before = [p.detach().clone() for p in work.model.parameters()]
    work.step()
    for param, old in zip(work.model.parameters(), before, strict=True):
        assert torch.allclose(param, old - 0.04 * param.grad, atol=1e-7)
    assert work.optimizer.param_groups[0]["lr"] == 0.08


def test_a_value_goes_to_the_first_group_and_the_others_keep_their_ratio(probe: Any, receiver: Any, job: Any) -> None:
    work = job(two_groups)
    work.step()
    receiver.command(value=0.01)
    work.until(lambda: "settled" in receiver.states())
    applied = receiver.of(packet.ACK)[1]
    assert applied["lr"] == pytest.approx([0.01, 0.0025])
    assert applied["own_lr"] == [0.08, 0.02]
    assert [group["lr"] for group in work.optimizer.param_groups] == [0.08, 0.02]


def test_a_tensor_rate_is_filled_and_put_back_in_place(probe: Any, receiver: Any, job: Any) -> None:
    rate = torch.tensor(0.01)
    work = job(lambda p: torch.optim.Adam([{"params": p[:2]}, {"params": p[2:]}], lr=rate))
    shared = work.optimizer.param_groups[0]["lr"]
    work.optimizer.param_groups[1]["lr"] = shared
    work.step()
    receiver.command(factor=0.25)
    work.until(lambda: "settled" in receiver.states())
    applied = receiver.of(packet.ACK)[1]
    # The two groups share one tensor, which is multiplied once.
    assert applied["lr"] == pytest.approx([0.0025, 0.0025])
    assert applied["own_lr"] == pytest.approx([0.01, 0.01])
    assert work.optimizer.param_groups[0]["lr"] is shared
    assert shared.item() == torch.tensor(0.01).item()


def test_the_jobs_own_write_inside_a_step_wins(probe: Any, receiver: Any, job: Any) -> None:
    class Writes(torch.optim.SGD):
        writes = False

        def step(self, closure: Any = None) -> Any:
            if self.writes:
                self.param_groups[0]["lr"] = 0.123
            return super().step(closure)

    work = job(lambda p: Writes(p, lr=0.08))
    work.step()
    receiver.command(factor=0.5)
    work.until(lambda: "settled" in receiver.states())
    work.optimizer.writes = True
    work.step()
    assert work.optimizer.param_groups[0]["lr"] == 0.123
    assert [event["kind"] for event in receiver.of(packet.EVENT)] == ["overlay_overwritten"]


def test_a_nested_step_is_not_compounded(probe: Any, receiver: Any, job: Any) -> None:
    class Outer(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    work = job(lambda p: Outer(p, lr=0.08))
    work.step()
    receiver.command(factor=0.5)
    work.until(lambda: "settled" in receiver.states())
    rows = len(receiver.rows)
    work.step()
    assert receiver.take().rows[-1]["lr/0"] == 0.04
    assert len(receiver.rows) == rows + 1
    assert work.optimizer.param_groups[0]["lr"] == 0.08


def test_an_inner_optimizer_on_the_same_groups_is_not_compounded(probe: Any, receiver: Any, job: Any) -> None:
    seen = []

    class Inner(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            seen.append(self.param_groups[0]["lr"])
            return super().step(closure)

    class Sharpness(torch.optim.SGD):
        """Steps through another optimizer on its own groups, as SAM and Lookahead do."""

        def __init__(self, params: Any) -> None:
            super().__init__(params, lr=0.08)
            self.base = Inner(self.param_groups, lr=0.08)
            self.base.param_groups = self.param_groups

        def step(self, closure: Any = None) -> Any:
            self.base.step()

    work = job(Sharpness)
    work.step()
    receiver.command(factor=0.5)
    work.until(lambda: "settled" in receiver.states())
    work.step()
    assert seen[-1] == 0.04
    assert work.optimizer.param_groups[0]["lr"] == 0.08
    assert len(receiver.of(packet.HELLO)[-1]["optimizers"]) == 1


class Fragile(torch.optim.SGD):
    broken = False

    def step(self, closure: Any = None) -> Any:
        if self.broken:
            raise RuntimeError("out of luck")
        return super().step(closure)


def test_what_an_exception_left_is_healed_by_the_step_of_another_thread(probe: Any, receiver: Any, job: Any) -> None:
    work = job(lambda p: Fragile(p, lr=0.08))
    work.step()
    receiver.command(factor=0.5)
    work.until(lambda: "settled" in receiver.states())
    work.optimizer.broken = True
    failed, go_on = threading.Event(), threading.Event()

    def worker() -> None:
        with pytest.raises(RuntimeError, match="out of luck"):
            work.step()
        failed.set()
        go_on.wait(60)

    thread = threading.Thread(target=worker)
    thread.start()
    assert failed.wait(60)
    work.optimizer.broken = False
    try:
        work.step()
        rows = receiver.take().rows
    finally:
        go_on.set()
        thread.join(60)
    assert (rows[-1]["own_lr/0"], rows[-1]["lr/0"]) == (0.08, 0.04)
    assert work.optimizer.param_groups[0]["lr"] == 0.08
    assert [event["kind"] for event in receiver.of(packet.EVENT)] == ["step_interrupted"]


@pytest.mark.parametrize("then", ["backward", "state_dict", "step"])
def test_what_an_exception_left_is_healed(then: str, probe: Any, receiver: Any, job: Any) -> None:
    work = job(lambda p: Fragile(p, lr=0.08))
    work.step()
    receiver.command(factor=0.5)
    work.until(lambda: "settled" in receiver.states())
    work.optimizer.broken = True
    loss = work.loss()
    with pytest.raises(RuntimeError, match="out of luck"):
        work.optimizer.step()
    work.optimizer.broken = False
    if then == "backward":
        loss.backward()
    elif then == "state_dict":
        assert work.optimizer.state_dict()["param_groups"][0]["lr"] == 0.08
    else:
        work.optimizer.step()
        assert receiver.take().rows[-1]["own_lr/0"] == 0.08
        assert receiver.rows[-1]["lr/0"] == 0.04
    assert work.optimizer.param_groups[0]["lr"] == 0.08
    assert [event["kind"] for event in receiver.of(packet.EVENT)] == ["step_interrupted"]


def test_a_checkpoint_inside_a_step_never_sees_it(probe: Any, receiver: Any, job: Any) -> None:
    saved = []

    class Saves(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            saved.append(copy.deepcopy(self.state_dict())["param_groups"][0]["lr"])
            return super().step(closure)

    work = job(lambda p: Saves(p, lr=0.08))
    work.step()
    receiver.command(factor=0.5)
    work.until(lambda: "settled" in receiver.states())
    work.step()
    assert set(saved) == {0.08}
    assert receiver.take().rows[-1]["lr/0"] == 0.04
    assert work.optimizer.param_groups[0]["lr"] == 0.08


def test_a_closure_sees_the_jobs_own_rate(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    seen = []

    def closure() -> torch.Tensor:
        seen.append(work.optimizer.param_groups[0]["lr"])
        work.optimizer.zero_grad()
        loss: torch.Tensor = work.loss()
        loss.backward()
        return loss

    work.step()
    receiver.command(factor=0.5)
    work.until(lambda: "settled" in receiver.states())
    before = [p.detach().clone() for p in work.model.parameters()]
    work.optimizer.step(closure)
    assert seen == [0.08]
    for param, old in zip(work.model.parameters(), before, strict=True):
        assert torch.allclose(param, old - 0.04 * param.grad, atol=1e-7)
    assert work.optimizer.param_groups[0]["lr"] == 0.08


def test_hooks_of_the_job_see_its_own_rate(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    work.step()
    seen = []
    work.optimizer.register_step_pre_hook(lambda o, a, k: seen.append(o.param_groups[0]["lr"]))
    work.optimizer.register_step_post_hook(lambda o, a, k: seen.append(o.param_groups[0]["lr"]))
    receiver.command(factor=0.5)
    work.until(lambda: "settled" in receiver.states())
    assert set(seen) == {0.08}


def test_closing_inside_a_step_takes_it_off_at_its_end(probe: Any, receiver: Any, job: Any) -> None:
    class Closes(torch.optim.SGD):
        closes = False

        def step(self, closure: Any = None) -> Any:
            if self.closes:
                probe.close("detached")
            return super().step(closure)

    work = job(lambda p: Closes(p, lr=0.08))
    work.step()
    receiver.command(factor=0.5)
    work.until(lambda: "settled" in receiver.states())
    work.optimizer.closes = True
    work.step()
    assert work.optimizer.param_groups[0]["lr"] == 0.08
    assert receiver.of(packet.BYE)[0]["outcome"] == "detached"
    rows = len(receiver.rows)
    work.step()
    assert len(receiver.take().rows) == rows
