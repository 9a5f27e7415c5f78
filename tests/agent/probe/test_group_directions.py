"""Whether successive steps agree, by parameter group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.agent.probe.loops.loop import ran
from tests.agent.probe.loops.several import Gan, ManyGroups

from steersman.agent.probe.direction import Piece, runs

COSINE = "hypergrad_cos/"


def flat(tensors: Any) -> torch.Tensor:
    return torch.cat([t.detach().double().reshape(-1) for t in tensors])


def in_groups(*sizes: int, **options: Any) -> Callable[[Any], torch.optim.Optimizer]:
    """AdamW with so many parameters in each group, at rates that differ."""

    def make(params: Any) -> torch.optim.Optimizer:
        left = list(params)
        groups = [{"params": [left.pop(0) for _ in range(size)], "lr": 0.02 * 0.3**i} for i, size in enumerate(sizes)]
        return torch.optim.AdamW(groups, weight_decay=0.1, **options)

    return make


def cosines(work: Any, steps: int, frozen: Any = None) -> list[list[float]]:
    """Take steps; the cosine of each group at each of them, the gradient of a frozen parameter left out."""
    groups = [[p for p in group["params"] if p is not frozen] for group in work.optimizer.param_groups]
    sign = -1.0 if work.optimizer.param_groups[0]["maximize"] else 1.0
    updates = [torch.ones(sum(p.numel() for p in params), dtype=torch.double) for params in groups]
    found = []
    for _ in range(steps):
        work.optimizer.zero_grad()
        work.loss().backward()
        if frozen is not None:
            frozen.grad = None
        gradients = [sign * flat(p.grad for p in params) for params in groups]
        found.append([-float(g @ u / (g.norm() * u.norm())) for g, u in zip(gradients, updates, strict=True)])
        before = [flat(params) for params in groups]
        work.optimizer.step()
        updates = [flat(params) - was for params, was in zip(groups, before, strict=True)]
    return found


def told(row: dict[str, float]) -> dict[str, float]:
    return {name[len(COSINE) :]: value for name, value in row.items() if name.startswith(COSINE)}


@pytest.mark.parametrize("sizes", [(2, 2), (1, 1, 1, 1), (3, 1)])
@pytest.mark.parametrize("maximize", [False, True])
def test_each_group_has_the_cosine_of_its_own_update(
    sizes: tuple[int, ...], maximize: bool, probe: Any, receiver: Any, job: Any
) -> None:
    truth = cosines(job(in_groups(*sizes, maximize=maximize)), 31)
    rows = [row for row in receiver.take().rows if told(row)]
    assert [row["step"] for row in rows] == [10, 20, 30]
    for row in rows:
        expected = {str(group): cosine for group, cosine in enumerate(truth[int(row["step"])])}
        assert told(row) == pytest.approx(expected, abs=1e-5)
        assert "hypergrad_cos" in row
    assert probe.failures == 0


def test_a_parameter_without_a_gradient_moves_no_group_into_another(probe: Any, receiver: Any, job: Any) -> None:
    work = job(in_groups(2, 2))
    truth = cosines(work, 11, frozen=work.model[0].weight)
    row = receiver.take().rows[10]
    assert told(row) == pytest.approx({"0": truth[10][0], "1": truth[10][1]}, abs=1e-5)


def test_a_group_without_any_gradient_has_none(probe: Any, receiver: Any, job: Any) -> None:
    work = job(in_groups(1, 3))
    for _ in range(11):
        work.optimizer.zero_grad()
        work.loss().backward()
        work.model[0].weight.grad = None
        work.optimizer.step()
    assert set(told(receiver.take().rows[10])) == {"1"}


class Eight(ManyGroups):
    groups = 8


class Nine(ManyGroups):
    groups = 9


def test_one_group_or_more_than_eight_have_the_common_one_only(probe: Any, receiver: Any, job: Any) -> None:
    ran(Nine, 11)
    assert "hypergrad_cos" in receiver.take().rows[10]
    assert not told(receiver.rows[10])


def test_eight_groups_have_one_each(probe: Any, receiver: Any) -> None:
    ran(Eight, 11)
    assert set(told(receiver.take().rows[10])) == set("01234567")


def test_one_group_has_the_common_one_only(probe: Any, receiver: Any, job: Any) -> None:
    work = job(in_groups(4))
    for _ in range(11):
        work.step()
    assert "hypergrad_cos" in receiver.take().rows[10]
    assert not told(receiver.rows[10])


class TwoGroups(Gan):
    """A critic of two groups."""

    def prepare(self) -> None:
        super().prepare()
        layers = [list(self.critic[0].parameters()), list(self.critic[2].parameters())]
        self.second = torch.optim.Adam([{"params": layer, "lr": 0.004} for layer in layers])


def test_groups_are_called_what_their_rates_are(probe: Any, receiver: Any) -> None:
    ran(TwoGroups, 12)
    probe.close()
    names = {name for row in receiver.take().rows for name in row}
    # The critic steps first.
    assert {name for name in names if name.startswith(COSINE)} == {"hypergrad_cos/0", "hypergrad_cos/1"}
    assert {"lr/0", "lr/1", "lr/1.0"} <= names


class SecondOfTwoGroups(TwoGroups):
    """The other way round: what steps first has one group."""

    def prepare(self) -> None:
        super().prepare()
        self.optimizer.step()


def test_those_of_a_second_optimizer_carry_its_number(probe: Any, receiver: Any) -> None:
    ran(SecondOfTwoGroups, 12)
    probe.close()
    names = {name for row in receiver.take().rows for name in row}
    assert {name for name in names if name.startswith(COSINE)} == {"hypergrad_cos/1.0", "hypergrad_cos/1.1"}
    assert {"lr/0", "lr/1.0", "lr/1.1"} <= names


def test_where_values_were_clipped_no_group_has_one(probe: Any, receiver: Any, job: Any) -> None:
    work = job(in_groups(2, 2))
    for step in range(21):
        work.optimizer.zero_grad()
        work.loss().backward()
        if step == 20:
            torch.nn.utils.clip_grad_value_(work.model.parameters(), 0.01)
        work.optimizer.step()
    rows = receiver.take().rows
    assert set(told(rows[10])) == {"0", "1"}
    assert not told(rows[20])


def test_they_leave_room_for_validation_sets(probe: Any, receiver: Any) -> None:
    class Full(Eight):
        def prepare(self) -> None:
            super().prepare()
            self.others = [
                torch.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.1} for _ in range(8)])
                for _ in range(2)
            ]

        def round(self) -> None:
            super().round()
            for other in self.others:
                other.step()

    ran(Full, 11)
    probe.close()
    rows = receiver.take().rows
    assert len(rows) == 11
    assert "hypergrad_cos" in rows[10]
    assert not any(told(row) for row in rows)
    assert probe.failures == 0


def test_of_a_large_model_pieces_stand_for_each_group(probe: Any, receiver: Any) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(600, 600), torch.nn.Tanh(), torch.nn.Linear(600, 600, bias=False))
    biases = [p for p in model.parameters() if p.dim() == 1]
    matrices = [[p] for p in model.parameters() if p.dim() == 2]
    optimizer = torch.optim.Adam([{"params": params} for params in (matrices[0], biases, matrices[1])], lr=1e-3)
    inputs = torch.randn(64, 600)
    truth: dict[str, float] = {}
    updates = {str(group): torch.ones(360_000, dtype=torch.double) for group in (0, 2)}
    for _ in range(11):
        optimizer.zero_grad()
        (model(inputs) - inputs).square().mean().backward()
        before = {str(group): flat(optimizer.param_groups[group]["params"]) for group in (0, 2)}
        for group, update in updates.items():
            gradient = flat(p.grad for p in optimizer.param_groups[int(group)]["params"])
            truth[group] = -float(gradient @ update / gradient.norm() / update.norm())
        optimizer.step()
        updates = {group: flat(optimizer.param_groups[int(group)]["params"]) - was for group, was in before.items()}
    row = receiver.take().rows[10]
    # Of 600 biases among 720,600 scalars no piece tells enough.
    assert told(row) == pytest.approx(truth, abs=0.1)
    assert probe.failures == 0


def test_less_than_a_piece_does_not_speak_for_a_group() -> None:
    big, small, tiny = (torch.nn.Parameter(torch.zeros(size)) for size in (100_000, 300, 5_000))
    groups = [{"params": [big]}, {"params": [small]}, {"params": [tiny]}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    found = [Piece(big, 0, 4096), Piece(big, 50_000, 54_096), Piece(small, 0, 300), Piece(tiny, 0, 1000)]
    # The small group is there as a whole, of the last one there is less than a piece.
    assert runs(optimizer, found) == [(0, 0, 8192), (1, 8192, 8492)]
