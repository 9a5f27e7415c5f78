from __future__ import annotations

import math
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
    found = pieces(params)
    assert sum(stop - start for _, start, stop in found) == 131_072
    assert {id(param) for param, _, _ in found} == {id(params[1]), id(params[3])}
    assert all(0 <= start < stop <= param.numel() for param, start, stop in found)
    assert 20 <= sum(param is params[1] for param, _, _ in found) <= 24
    assert [piece[1:] for piece in pieces(params)] == [piece[1:] for piece in found]


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
