from __future__ import annotations

from typing import Any

import pytest
import torch

from steersman.agent.probe import packet


def sgd(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.08)


def refusal(receiver: Any, work: Any) -> str:
    work.until(lambda: "refused" in receiver.states())
    ack = [ack for ack in receiver.of(packet.ACK) if ack["state"] == "refused"][-1]
    assert ack["step"] == -1
    assert ack["lr"] == []
    return str(ack["message"])


def test_armed_applied_settled_with_what_was_read_back(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    work.step()
    identity = receiver.command(over_steps=4, factor=0.25)
    work.until(lambda: "settled" in receiver.states())
    armed, applied, settled = receiver.of(packet.ACK)
    assert {ack["adjustment_id"] for ack in (armed, applied, settled)} == {identity}
    assert (armed["state"], armed["step"]) == ("armed", -1)
    assert applied["lr"] == pytest.approx([0.08 * 0.25**0.25])
    assert settled["step"] == applied["step"] + 3
    assert settled["lr"] == [0.02]
    assert settled["own_lr"] == [0.08]


def test_an_expired_command_is_refused(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    work.step()
    receiver.command(expires_in=-5.0, factor=0.5)
    assert refusal(receiver, work).startswith("it expired 5")


def test_a_counter_that_does_not_grow_is_refused(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    work.step()
    receiver.command(7, factor=0.5)
    work.until(lambda: "settled" in receiver.states())
    receiver.command(6, factor=0.25)
    assert refusal(receiver, work) == "command 6 came after command 7"
    assert receiver.rows[-1]["lr/0"] == 0.04


def test_the_same_command_again_is_answered_again(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    work.step()
    receiver.command(1, factor=0.5)
    work.until(lambda: "settled" in receiver.states())
    receiver.command(1, factor=0.5)
    work.until(lambda: receiver.states().count("settled") == 2)
    assert "refused" not in receiver.states()


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_numbers_to_step_with(factor: float, probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    work.step()
    receiver.command(factor=factor)
    assert "is no learning rate or factor" in refusal(receiver, work)


class Unheard(torch.optim.Optimizer):
    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.01})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for param in group["params"]:
                param.sub_(param.grad * group["lr"])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Unheard, "Unheard is not in the table"),
        (lambda p: torch.optim.Rprop(p, lr=0.01), "nothing would change"),
        (lambda p: torch.optim.Adafactor(p, lr=0.01), "1/sqrt(step)"),
    ],
)
def test_where_a_change_would_not_be_what_it_says(make: Any, words: str, probe: Any, receiver: Any, job: Any) -> None:
    work = job(make)
    work.step()
    receiver.command(factor=0.5)
    assert words in refusal(receiver, work)
    assert words in receiver.of(packet.HELLO)[0]["optimizers"][0]["overlay"]


def test_lbfgs_is_watched_and_left_alone(probe: Any, receiver: Any, job: Any) -> None:
    work = job(lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=4))

    def closure() -> Any:
        work.optimizer.zero_grad()
        loss = work.loss()
        loss.backward()
        return loss

    work.optimizer.step(closure)
    receiver.command(factor=0.5)
    receiver.take()
    while "refused" not in receiver.states():
        work.optimizer.step(closure)
    assert "LBFGS" in receiver.of(packet.ACK)[-1]["message"]
    assert receiver.rows[0]["grad_norm"] > 0
    assert receiver.rows[0]["loss"] > 0


def test_a_job_of_several_ranks_is_not_steered(
    probe: Any, receiver: Any, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    work = job(sgd)
    work.step()
    receiver.command(factor=0.5)
    assert "4 ranks and rank agreement is not there yet" in refusal(receiver, work)
    assert "own_lr/0" not in receiver.rows[-1]


def test_an_order_that_comes_on_top_of_another_starts_from_what_is_in_force(
    probe: Any, receiver: Any, job: Any
) -> None:
    work = job(sgd)
    work.step()
    receiver.command(1, factor=0.25)
    work.until(lambda: receiver.states().count("settled") == 1)
    receiver.command(2, over_steps=2, factor=1.0)
    work.until(lambda: receiver.states().count("settled") == 2)
    applied, settled = receiver.of(packet.ACK)[-2:]
    assert applied["lr"] == pytest.approx([0.04])
    assert settled["lr"] == [0.08]
    work.step()
    assert "own_lr/0" not in receiver.take().rows[-1]


def test_garbage_from_the_agent_is_said_and_survived(probe: Any, receiver: Any, job: Any) -> None:
    work = job(sgd)
    work.step()
    receiver.take()
    receiver._connections[0].send(b"\x21\x01{not json")
    work.until(lambda: bool(receiver.of(packet.EVENT)))
    assert receiver.of(packet.EVENT)[0]["kind"] == "command_malformed"
    assert probe.failures == 0
