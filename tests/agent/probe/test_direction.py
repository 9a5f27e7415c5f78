from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from steersman.agent.probe.direction import pieces

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam decay": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "maximize": lambda p: torch.optim.Adam(p, lr=0.001, maximize=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.5),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "radam decoupled": lambda p: torch.optim.RAdam(p, lr=0.01, weight_decay=0.5, decoupled_weight_decay=True),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "rmsprop momentum": lambda p: torch.optim.RMSprop(p, lr=0.002, momentum=0.9, centered=True),
    "two groups": lambda p: torch.optim.AdamW(
        [{"params": p[:2], "lr": 0.02}, {"params": p[2:], "lr": 0.002}], weight_decay=0.1
    ),
    # These are looked at through copies of a subset, which for so small a model is all of it.
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.005),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.05, weight_decay=0.1),
    "muon": lambda p: muon(p, lr=0.01, weight_decay=0.1),
    "transformers' adafactor": lambda p: transformers_adafactor(p, lr=0.01, relative_step=False, beta1=0.9),
    "transformers' adafactor by itself": lambda p: transformers_adafactor(p, warmup_init=True),
}


def muon(params: Any, **options: Any) -> torch.optim.Optimizer:
    """Torch's Muon, which takes matrices only; the rest of the model stands still."""
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    for param in params:
        param.requires_grad_(param.dim() == 2)
    return torch.optim.Muon([param for param in params if param.requires_grad], **options)


def transformers_adafactor(params: Any, **options: Any) -> torch.optim.Optimizer:
    """The other Adafactor, which may compute its own step size."""
    optimizer: torch.optim.Optimizer = pytest.importorskip("transformers.optimization").Adafactor(params, **options)
    return optimizer


def flat(tensors: Any) -> torch.Tensor:
    return torch.cat([t.detach().double().reshape(-1) for t in tensors])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_sample_is_that_of_the_true_update(name: str, probe: Any, receiver: Any, job: Any) -> None:
    work = job(OPTIMIZERS[name])
    params = [p for group in work.optimizer.param_groups for p in group["params"]]
    sign = -1.0 if name == "maximize" else 1.0
    truth = []
    update = torch.zeros(sum(p.numel() for p in params), dtype=torch.double)
    for _ in range(41):
        work.optimizer.zero_grad()
        work.loss().backward()
        gradient, before = sign * flat(p.grad for p in params), flat(params)
        cosine = -float(gradient @ update) / (float(gradient.norm() * update.norm()) or math.nan)
        norms = (float(update.norm()), float(before.norm()))
        work.optimizer.step()
        update = flat(params) - before
        truth.append((cosine, *norms, -float(gradient @ update)))
    rows = [row for row in receiver.take().rows if "hypergrad_cos" in row]
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    for row in rows:
        cosine, update_norm, weight_norm, _ = truth[int(row["step"])]
        assert row["hypergrad_cos"] == pytest.approx(cosine, abs=1e-5)
        assert row["update_norm"] == pytest.approx(update_norm, rel=1e-3)
        assert row["weight_norm"] == pytest.approx(weight_norm, rel=1e-5)
    promises = [row for row in receiver.rows if "predicted_decrease" in row]
    assert [row["step"] for row in promises] == [9, 19, 29, 39]
    for row in promises:
        assert row["predicted_decrease"] == pytest.approx(truth[int(row["step"])][3], rel=1e-3, abs=1e-8)
    assert probe.failures == 0


def test_clipping_does_not_shrink_the_predicted_decrease(probe: Any, receiver: Any, job: Any) -> None:
    work = job(lambda p: torch.optim.Adam(p, lr=0.01))
    params = list(work.model.parameters())
    gradient = before = torch.zeros(0)
    for _ in range(10):
        work.optimizer.zero_grad()
        work.loss().backward()
        gradient, before = flat(p.grad for p in params), flat(params)
        torch.nn.utils.clip_grad_norm_(params, 0.01)
        work.optimizer.step()
    truth = -float(gradient @ (flat(params) - before))
    assert receiver.take().rows[-1]["predicted_decrease"] == pytest.approx(truth, rel=1e-3)


def clipped_by_value(work: Any, steps: set[int], clip: Callable[..., Any]) -> dict[int, float]:
    """Take 41 steps, the gradients of some of them clipped by value; c of each, by what the step used."""
    params = list(work.model.parameters())
    update = torch.zeros(sum(p.numel() for p in params), dtype=torch.double)
    found = {}
    for step in range(41):
        work.optimizer.zero_grad()
        work.loss().backward()
        if step in steps:
            clip(params, 0.01)
        gradient, before = flat(p.grad for p in params), flat(params)
        found[step] = -float(gradient @ update) / (float(gradient.norm() * update.norm()) or math.nan)
        work.optimizer.step()
        update = flat(params) - before
    return found


# As a script has it that was started before the probe came.
EARLIER = torch.nn.utils.clip_grad_value_


@pytest.mark.parametrize("clip", [EARLIER, lambda *args: torch.nn.utils.clip_grad_value_(*args)])
def test_where_values_were_clipped_nobody_knows_where_the_loss_falls(
    clip: Any, probe: Any, receiver: Any, job: Any, said: Any
) -> None:
    work = job(lambda p: torch.optim.Adam(p, lr=0.01))
    cosines = clipped_by_value(work, {9, 20, 21, 22}, clip)
    rows = {int(row["step"]): row for row in receiver.take().rows}
    assert [step for step, row in rows.items() if "predicted_decrease" in row] == [19, 29, 39]
    agreeing = {step: row["hypergrad_cos"] for step, row in rows.items() if "hypergrad_cos" in row}
    assert agreeing == pytest.approx({step: cosines[step] for step in (10, 30, 40)}, abs=1e-5)
    # How far the weights went is known all the same.
    assert {"update_norm", "weight_norm", "grad_norm"} <= set(rows[20])
    (event,) = said("values_clipped")
    assert "hypergrad_cos and predicted_decrease are unknown" in event["message"]
    assert probe.failures == 0


def test_clipping_by_the_norm_keeps_where_gradients_point(probe: Any, receiver: Any, job: Any, said: Any) -> None:
    work = job(lambda p: torch.optim.Adam(p, lr=0.01))
    cosines = clipped_by_value(work, set(range(41)), torch.nn.utils.clip_grad_norm_)
    agreeing = {row["step"]: row["hypergrad_cos"] for row in receiver.take().rows if "hypergrad_cos" in row}
    assert agreeing == pytest.approx({step: cosines[step] for step in (10, 20, 30, 40)}, abs=1e-5)
    assert not said("values_clipped")


def test_after_both_kinds_of_clipping_only_the_norm_before_is_known(probe: Any, receiver: Any, job: Any) -> None:
    work = job(lambda p: torch.optim.Adam(p, lr=0.01))
    params = list(work.model.parameters())
    for _ in range(3):
        work.optimizer.zero_grad()
        work.loss().backward()
        before = float(torch.nn.utils.clip_grad_norm_(params, 0.5))
        torch.nn.utils.clip_grad_value_(params, 0.001)
        work.optimizer.step()
        row = receiver.take().rows[-1]
        assert row["grad_norm"] == pytest.approx(before, rel=1e-5)
        assert "clipped_norm" not in row


def test_clipped_values_of_one_optimizer_leave_the_round_of_both_unknown(probe: Any, receiver: Any, job: Any) -> None:
    """One row speaks for both, and which of them the gradients belonged to was not seen."""
    work, other = (job(lambda p: torch.optim.SGD(p, lr=0.01)) for _ in range(2))
    for step in range(31):
        for one in (work, other):
            one.optimizer.zero_grad()
        (work.loss() + other.loss()).backward()
        work.optimizer.step()
        if step == 20:
            torch.nn.utils.clip_grad_value_(list(other.model.parameters()), 0.01)
        other.optimizer.step()
    probe.close()
    assert [row["step"] for row in receiver.take().rows if "hypergrad_cos" in row] == [10, 30]


def test_a_torch_that_clips_values_in_another_way_is_seen_as_well(
    receiver: Any, start: Any, job: Any, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clip_grad_value_(parameters: Any, clip_value: float, foreach: Any = None) -> None:
        for parameter in parameters:
            parameter.grad.clamp_(-clip_value, clip_value)

    for holder in (torch.nn.utils, sys.modules["torch.nn.utils.clip_grad"]):
        monkeypatch.setattr(holder, "clip_grad_value_", clip_grad_value_)
    probe = start()
    clipped_by_value(
        job(lambda p: torch.optim.Adam(p, lr=0.01)), {20}, lambda *args: torch.nn.utils.clip_grad_value_(*args)
    )
    assert [row["step"] for row in receiver.take().rows if "hypergrad_cos" in row] == [10, 30, 40]
    assert len(said("values_clipped")) == 1
    probe.close()
    assert torch.nn.utils.clip_grad_value_ is clip_grad_value_
    assert probe.failures == 0


class Unheard(torch.optim.Optimizer):
    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.01})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for param in group["params"]:
                param.sub_(param.grad.sign() * group["lr"])


def test_an_unknown_class_has_no_direction(probe: Any, receiver: Any, job: Any) -> None:
    work = job(Unheard)
    for _ in range(21):
        work.step()
    assert len(receiver.take().rows) == 21
    assert not any("hypergrad_cos" in row for row in receiver.rows)


def test_of_a_large_model_pieces_from_all_over_it_are_looked_at() -> None:
    params = [torch.nn.Parameter(torch.zeros(size)) for size in (10, 700_000, 300, 300_000, 5)]
    found = pieces(params, [param.numel() for param in params])
    assert sum(stop - start for _, start, stop in found) == 131_072
    assert {id(param) for param, _, _ in found} == {id(params[1]), id(params[3])}
    assert all(0 <= start < stop <= param.numel() for param, start, stop in found)
    assert 20 <= sum(param is params[1] for param, _, _ in found) <= 24
    assert [piece[1:] for piece in pieces(params, [param.numel() for param in params])] == [
        piece[1:] for piece in found
    ]


def test_the_pieces_stand_for_the_whole(probe: Any, receiver: Any) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(600, 600), torch.nn.Tanh(), torch.nn.Linear(600, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    inputs = torch.randn(64, 600)
    cosine = update_norm = weight_norm = 0.0
    update = flat(model.parameters())
    for _ in range(11):
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        gradient, before = flat(p.grad for p in model.parameters()), flat(model.parameters())
        cosine = -float(gradient @ update / gradient.norm() / update.norm())
        update_norm, weight_norm = float(update.norm()), float(before.norm())
        optimizer.step()
        update = flat(model.parameters()) - before
    row = receiver.take().rows[10]
    assert row["update_norm"] == pytest.approx(update_norm, rel=0.05)
    assert row["weight_norm"] == pytest.approx(weight_norm, rel=0.05)
    assert row["hypergrad_cos"] == pytest.approx(cosine, abs=0.1)
    assert probe.failures == 0


def test_a_parameter_that_is_used_now_and_then_is_no_failure(probe: Any, receiver: Any, job: Any) -> None:
    work = job(lambda params: torch.optim.SGD(params, lr=0.01))
    for step in range(41):
        work.optimizer.zero_grad()
        work.loss().backward()
        if step in (9, 20):
            work.model[0].bias.grad = None
        work.optimizer.step()
    steps = [row["step"] for row in receiver.take().rows if "hypergrad_cos" in row]
    assert steps == [30, 40]
    assert probe.failures == 0


def test_a_job_that_is_under_way_is_looked_at_at_the_same_steps_on_every_rank(
    start: Any, receiver: Any, job: Any
) -> None:
    work = job(OPTIMIZERS["adamw"])
    for _ in range(13):
        work.step()
    start()
    for _ in range(20):
        work.step()
    assert [row["step"] for row in receiver.take().rows if "hypergrad_cos" in row] == [20, 30]


def test_clips_of_two_optimizers_tell_nothing_of_what_the_first_promised(probe: Any, receiver: Any, job: Any) -> None:
    work = job(lambda p: torch.optim.SGD(p[:2], lr=0.01))
    ours, others = list(work.model.parameters())[:2], list(work.model.parameters())[2:]
    second = torch.optim.SGD(others, lr=0.01)
    for clips in ((), ((*ours, *others),), (ours, others)):
        for _ in range(20):
            work.optimizer.zero_grad()
            second.zero_grad()
            work.loss().backward()
            for params in clips:
                torch.nn.utils.clip_grad_norm_(params, 1e-3)
            work.optimizer.step()
            second.step()
    assert [row["step"] for row in receiver.take().rows if "predicted_decrease" in row] == [9, 19]
