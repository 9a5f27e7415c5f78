"""A lane of a fleet is the job that torch would have trained alone, and its columns are those of the probe."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from benchmarks.diagnosis.data import Data
from benchmarks.diagnosis.fleet import Fleet, Lane, batches
from benchmarks.diagnosis.models import perceptron, residual
from benchmarks.diagnosis.optimizers import OPTIMIZERS
from benchmarks.diagnosis.tasks import Task, entropy

from steersman.agent.probe.direction import Direction
from steersman.agent.probe.ring import HostRing

STEPS = 60
RATES = {"sgd": 0.1, "sgdm": 0.02, "adagrad": 0.02, "adadelta": 2.0}


def _data() -> Data:
    draw = torch.Generator().manual_seed(3)
    x, y = torch.randn(200, 12, generator=draw), torch.randint(0, 10, (200,), generator=draw)
    return Data(x[:150], y[:150], x[150:], y[150:], classes=10)


def _task(wide: bool = False) -> Task:
    model = (lambda: residual(12, 16, 1, dropout=0.0)) if wide else (lambda: perceptron((12, 16, 10)))
    return Task("tiny", "", _data, model, entropy, 16)


def _alone(task: Task, optimizer: str, lr: float, seed: int) -> dict[str, list[float]]:
    """The same job, trained by torch's own optimizer, seen by the probe's own code for directions."""
    model, data = task.model(), task.data()
    params = [torch.nn.Parameter(p.clone()) for p in model.init(seed)]
    twin = OPTIMIZERS[optimizer].twin(params, lr)
    direction = Direction(HostRing())
    order = batches(task, seed, STEPS)
    assert order is not None
    seen: dict[str, list[float]] = {name: [] for name in ("loss", "norm", "cos", "update", "weight", "gain")}
    for step in range(STEPS):
        chosen = torch.from_numpy(order[step])
        twin.zero_grad()
        loss = task.losses(model, [p.unsqueeze(0) for p in params], data.x[chosen][None], data.y[chosen][None], None)[0]
        loss.backward()
        seen["loss"].append(float(loss.detach()))
        seen["norm"].append(float(torch.cat([p.grad.flatten() for p in params if p.grad is not None]).norm()))
        with torch.no_grad():
            assert direction.look(twin)
            if direction.watched:
                sums = direction.compare(twin, None, 0.0)
                assert sums is not None
                dot, gradient, update, weight = sums.read()
                seen["cos"].append(-dot / math.sqrt(gradient * update))
                seen["update"].append(math.sqrt(update))
                seen["weight"].append(math.sqrt(weight))
            if step % 10 == 9:
                direction.watch(twin, None, 0.0)
        twin.step()
        with torch.no_grad():
            if direction.watching:
                gain = direction.after(True)
                assert gain is not None
                seen["gain"].append(-gain.read()[0])
    return seen


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("wide", [False, True])
def test_a_lane_is_the_job_trained_alone(optimizer: str, wide: bool) -> None:
    task = _task(wide)
    base = RATES.get(optimizer, 0.003)
    seeds, lrs = (0, 1, 0), np.array([base, base, base / 4.0])
    fleet = Fleet(task, OPTIMIZERS[optimizer], [Lane(seed, batches(task, seed, STEPS)) for seed in seeds])
    rows = [fleet.step(lrs) for _ in range(STEPS)]
    for lane in (1, 2):
        alone = _alone(task, optimizer, float(lrs[lane]), seeds[lane])
        mine = {
            "loss": [float(r.loss[lane]) for r in rows],
            "norm": [float(r.grad_norm[lane]) for r in rows],
            "cos": [float(r.cosine[lane]) for r in rows if r.cosine is not None],
            "update": [float(r.update_norm[lane]) for r in rows if r.update_norm is not None],
            "weight": [float(r.weight_norm[lane]) for r in rows if r.weight_norm is not None],
            "gain": [float(r.predicted[lane]) for r in rows if r.predicted is not None],
        }
        for name, values in alone.items():
            np.testing.assert_allclose(mine[name], values, rtol=2e-3, atol=2e-5, err_msg=name)


def test_a_branch_goes_on_exactly_as_the_run_it_left() -> None:
    task = _task()
    lanes = [Lane(0, batches(task, 0, STEPS)), Lane(0, batches(task, 0, STEPS))]
    fleet = Fleet(task, OPTIMIZERS["adam"], lanes)
    for _ in range(20):
        fleet.step(np.array([0.01, 0.03]))
    fleet.put(1, fleet.take(0))
    for _ in range(20):
        taken = fleet.step(np.array([0.01, 0.01]))
        assert torch.equal(taken.loss[0], taken.loss[1])


def test_a_lane_that_breaks_leaves_the_others_alone() -> None:
    task = _task()
    lanes = [Lane(0, batches(task, 0, STEPS)), Lane(0, batches(task, 0, STEPS))]
    fleet = Fleet(task, OPTIMIZERS["sgd"], lanes)
    taken = [fleet.step(np.array([1e30, 0.1])) for _ in range(STEPS)][-1]
    assert not math.isfinite(float(taken.loss[0]))
    assert float(taken.loss[1]) < 2.3
