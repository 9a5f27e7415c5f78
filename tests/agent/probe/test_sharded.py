"""What one rank of several sends of the gradient norm: its parts by placement, and nothing that looks like a whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tests.agent.probe.conftest import Receiver
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

from steersman.agent.probe import packet
from steersman.agent.probe.direction import Direction
from steersman.agent.probe.probe import Probe
from steersman.agent.probe.ring import HostRing, peek

Said = Callable[[str], list[dict[str, Any]]]
RANK, WORLD = 1, 4


@pytest.fixture(autouse=True)
def mesh() -> Iterator[DeviceMesh]:
    """Rank 1 of four whose collectives do nothing, on a mesh of two by two."""
    dist.init_process_group("fake", store=FakeStore(), rank=RANK, world_size=WORLD)
    yield init_device_mesh("cpu", (2, 2), mesh_dim_names=("outer", "inner"))
    dist.destroy_process_group()


def param(local: torch.Tensor, mesh: DeviceMesh, *placements: Placement) -> torch.nn.Parameter:
    """A parameter of which this rank holds that."""
    return torch.nn.Parameter(DTensor.from_local(local, mesh, placements, run_check=False))


def grad(of: torch.nn.Parameter, value: float, *placements: Placement) -> None:
    """Give it a gradient that is this number everywhere, placed as it is or otherwise."""
    data: Any = of.data
    if isinstance(data, DTensor):
        local = torch.full_like(data.to_local(), value)
        of.grad = DTensor.from_local(local, data.device_mesh, placements or data.placements, run_check=False)
    else:
        of.grad = torch.full_like(data, value)


def step(optimizer: torch.optim.Optimizer) -> None:
    """A round, whose backward needs no gradient of the parameters above."""
    torch.ones((), requires_grad=True).mul(2.0).backward()
    optimizer.step()


def parts(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name.startswith(("grad_square", "grad_norm"))}


def test_parts_go_out_by_placement(probe: Probe, receiver: Receiver, mesh: DeviceMesh) -> None:
    both = param(torch.zeros(3), mesh, Shard(0), Shard(0))
    outer = param(torch.zeros(2, 2), mesh, Shard(0), Replicate())
    inner = param(torch.zeros(5), mesh["inner"], Shard(0))
    alike = param(torch.zeros(1), mesh, Replicate(), Replicate())
    plain = torch.nn.Parameter(torch.zeros(2))
    nothing = param(torch.zeros(0), mesh, Shard(0), Shard(0))
    optimizer = torch.optim.SGD([both, outer, inner, alike, plain, nothing], lr=0.1)
    for one, value in zip((both, outer, inner, alike, plain, nothing), (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), strict=True):
        grad(one, value)
    step(optimizer)
    (row,) = receiver.take().rows
    assert parts(row) == {
        "grad_square/4x1": pytest.approx(3.0),
        "grad_square/2x2": pytest.approx(16.0),
        "grad_square/2x1": pytest.approx(45.0),
        "grad_square/whole": pytest.approx(16.0 + 50.0),
    }


def test_who_has_no_gradient_says_that_it_adds_nothing(probe: Probe, receiver: Receiver, mesh: DeviceMesh) -> None:
    one, other = param(torch.zeros(3), mesh["inner"], Shard(0)), param(torch.zeros(3), mesh, Shard(0), Shard(0))
    optimizer = torch.optim.SGD([one, other], lr=0.1)
    grad(one, 2.0)
    step(optimizer)
    one.grad = None
    step(optimizer)
    first, second = receiver.take().rows
    assert parts(first) == {"grad_square/2x1": pytest.approx(12.0), "grad_square/4x1": 0.0}
    assert parts(second) == {"grad_square/2x1": 0.0, "grad_square/4x1": 0.0}


def test_a_partial_gradient_is_unknown_and_said_once(
    probe: Probe, receiver: Receiver, mesh: DeviceMesh, said: Said
) -> None:
    one, other = param(torch.zeros(3), mesh, Replicate(), Replicate()), param(torch.zeros(2), mesh, Shard(0), Shard(0))
    optimizer = torch.optim.SGD([one, other], lr=0.0)
    for _ in range(2):
        grad(one, 2.0, Partial(), Replicate())
        grad(other, 1.0)
        step(optimizer)
    assert [parts(row) for row in receiver.take().rows] == [{"grad_square/unknown": 1.0}] * 2
    (event,) = said("norm_unknown")
    assert event["message"] == (
        "the gradient norm of the job is not known: the placement (P(sum), R) of a gradient has no norm by itself"
    )


def test_a_mesh_without_a_name_is_unknown(probe: Probe, receiver: Receiver, said: Said) -> None:
    odd = DeviceMesh("cpu", torch.tensor([0, 1, 3]))
    one = param(torch.zeros(3), odd, Shard(0))
    optimizer = torch.optim.SGD([one], lr=0.1)
    grad(one, 1.0)
    step(optimizer)
    assert [parts(row) for row in receiver.take().rows] == [{"grad_square/unknown": 1.0}]
    assert len(said("norm_unknown")) == 1


def test_what_overflows_in_its_own_precision_is_known(probe: Probe, receiver: Receiver, mesh: DeviceMesh) -> None:
    one = param(torch.zeros(2), mesh, Shard(0), Shard(0))
    optimizer = torch.optim.SGD([one], lr=0.0)
    for value in (1e30, math.inf, math.nan):
        grad(one, value)
        step(optimizer)
    squares = [row["grad_square/4x1"] for row in receiver.take().rows]
    assert squares == [pytest.approx(2e60), math.inf, pytest.approx(math.nan, nan_ok=True)]


def test_two_optimizers_of_a_round_send_both(probe: Probe, receiver: Receiver, mesh: DeviceMesh) -> None:
    one, other = param(torch.zeros(3), mesh, Shard(0), Shard(0)), param(torch.zeros(2), mesh, Shard(0), Shard(0))
    first, second = torch.optim.SGD([one], lr=0.1), torch.optim.SGD([other], lr=0.1)
    for _ in range(3):
        grad(one, 1.0)
        grad(other, 2.0)
        torch.ones((), requires_grad=True).mul(2.0).backward()
        first.step()
        second.step()
    probe.close()
    both = {"grad_square/4x1": pytest.approx(3.0), "grad_square/4x1/2": pytest.approx(8.0)}
    assert [parts(row) for row in receiver.take().rows] == [both] * 3


@pytest.mark.parametrize("scaled", [False, True])
def test_the_norm_is_that_before_the_job_s_own_clip(
    probe: Probe, receiver: Receiver, mesh: DeviceMesh, scaled: bool
) -> None:
    one = param(torch.zeros(4), mesh, Replicate(), Replicate())
    optimizer = torch.optim.SGD([one], lr=0.1)
    grad(one, 3.0)
    torch.ones((), requires_grad=True).mul(2.0).backward()
    torch.nn.utils.clip_grad_norm_([one], 1.0)
    if scaled:
        probe._capture.unscale(torch.tensor(2.0))
    optimizer.step()
    (row,) = receiver.take().rows
    assert parts(row) == {"grad_square/whole": pytest.approx(9.0 if scaled else 36.0)}


def test_a_norm_that_is_still_in_parts_is_sent_as_one(probe: Probe, receiver: Receiver, mesh: DeviceMesh) -> None:
    from torch.distributed.tensor._ops._math_ops import _NormPartial

    one = param(torch.zeros(4), mesh, Shard(0), Replicate())
    optimizer = torch.optim.SGD([one], lr=0.1)
    grad(one, 1.0)
    torch.ones((), requires_grad=True).mul(2.0).backward()
    total = DTensor.from_local(torch.tensor(3.0), mesh, (_NormPartial(2), Replicate()), run_check=False)
    probe._capture.norm(total, 2.0, 1)
    probe._capture.clipped(torch.tensor(7.0), frozenset([id(one)]), 1.0)
    optimizer.step()
    (row,) = receiver.take().rows
    assert parts(row) == {"grad_square/2x2": pytest.approx(9.0)}


def test_a_norm_of_other_gradients_is_not_taken(probe: Probe, receiver: Receiver, mesh: DeviceMesh) -> None:
    one = param(torch.zeros(4), mesh, Replicate(), Replicate())
    optimizer = torch.optim.SGD([one], lr=0.1)
    grad(one, 1.0)
    torch.ones((), requires_grad=True).mul(2.0).backward()
    total = DTensor.from_local(torch.tensor(3.0), mesh, (Replicate(), Replicate()), run_check=False)
    probe._capture.norm(total, 2.0, 5)
    probe._capture.clipped(torch.tensor(7.0), frozenset([id(one)]), 1.0)
    optimizer.step()
    (row,) = receiver.take().rows
    assert parts(row) == {"grad_square/unknown": 1.0}


def test_a_row_without_room_says_nothing_rather_than_a_part(probe: Probe, receiver: Receiver, mesh: DeviceMesh) -> None:
    one, other = param(torch.zeros(3), mesh, Shard(0), Shard(0)), param(torch.zeros(2), mesh["inner"], Shard(0))
    optimizer = torch.optim.SGD([one, other], lr=0.1)
    for number in range(packet.MAX_COLUMNS - probe._rows.width - 2):
        probe._rows.column(f"val_loss/{number}")
    grad(one, 1.0)
    grad(other, 1.0)
    step(optimizer)
    (row,) = receiver.take().rows
    assert parts(row) == {"grad_square/unknown": 1.0}


@pytest.mark.parametrize(
    ("mark", "why"),
    [("_fsdp_flattened", "FSDP1's flat"), ("tensor_model_parallel", "Megatron"), ("ds_id", "DeepSpeed")],
)
def test_plain_parts_of_other_libraries_have_no_norm(
    probe: Probe, receiver: Receiver, said: Said, mark: str, why: str
) -> None:
    flat = torch.nn.Parameter(torch.zeros(3))
    setattr(flat, mark, True)
    optimizer = torch.optim.SGD([flat], lr=0.1)
    flat.grad = torch.ones(3)
    step(optimizer)
    assert [parts(row) for row in receiver.take().rows] == [{"grad_square/unknown": 1.0}]
    assert why in said("norm_unknown")[0]["message"]


def test_replicas_have_their_own_norm(probe: Probe, receiver: Receiver) -> None:
    plain = torch.nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([plain], lr=0.1)
    plain.grad = torch.ones(4)
    step(optimizer)
    assert [parts(row) for row in receiver.take().rows] == [{"grad_norm": 2.0}]


class _Forbidden(TorchDispatchMode):
    """Fails on a collective, and on waiting for a number."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.namespace not in ("c10d", "_c10d_functional"), func
        assert func is not torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_measuring_asks_no_other_rank_and_waits_for_nothing(probe: Probe, receiver: Receiver, mesh: DeviceMesh) -> None:
    one, plain = param(torch.zeros(3), mesh, Shard(0), Shard(0)), torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([one, plain], lr=0.1)
    with _Forbidden():  # type: ignore[no-untyped-call]  # torch's own
        for _ in range(12):
            grad(one, 1.0)
            grad(plain, 1.0)
            step(optimizer)
    assert len(receiver.take().rows) == 12
    assert probe.failures == 0


def test_a_second_optimizer_without_gradient_says_so_too(probe: Probe, receiver: Receiver, mesh: DeviceMesh) -> None:
    one, other = param(torch.zeros(3), mesh, Shard(0), Shard(0)), param(torch.zeros(2), mesh, Shard(0), Shard(0))
    first, second = torch.optim.SGD([one], lr=0.1), torch.optim.SGD([other], lr=0.1)
    for _ in range(3):
        grad(one, 1.0)
        torch.ones((), requires_grad=True).mul(2.0).backward()
        first.step()
        second.step()
    probe.close()
    both = {"grad_square/4x1": pytest.approx(3.0), "grad_square/4x1/2": 0.0}
    assert [parts(row) for row in receiver.take().rows] == [both] * 3


def directions(row: dict[str, float]) -> dict[str, float]:
    return {
        name: value for name, value in row.items() if name.startswith(("direction_", "promise_", "hypergrad", "pre"))
    }


def test_what_a_rank_holds_of_the_direction_goes_out_by_placement(
    probe: Probe, receiver: Receiver, mesh: DeviceMesh
) -> None:
    # Not in the order of their placements, so that none is taken for another.
    one, plain = param(torch.ones(3), mesh, Shard(0), Shard(0)), torch.nn.Parameter(torch.ones(2))
    other, nothing = param(torch.ones(4), mesh["inner"], Shard(0)), param(torch.zeros(0), mesh, Shard(0), Shard(0))
    optimizer = torch.optim.SGD([plain, one, nothing, other], lr=0.1)
    for number in range(11):
        for each, value in ((one, 1.0), (plain, 2.0), (other, 3.0), (nothing, 4.0)):
            grad(each, value if number < 10 else 10 * value)
        step(optimizer)
    rows = receiver.take().rows
    assert [number for number, row in enumerate(rows) if directions(row)] == [9, 10]
    # By placement: how many scalars this rank holds, their gradient, and what ten steps left of their ones.
    held = {"4x1": (3, 1.0), "whole": (2, 2.0), "2x1": (4, 3.0)}
    expected = {}
    for place, (count, value) in held.items():
        expected[f"promise_dot/{place}"] = pytest.approx(-count * value * 0.1 * value, rel=1e-4)
        expected[f"promise_grad/{place}"] = pytest.approx(count * value * value, rel=1e-4)
    assert directions(rows[9]) == expected
    expected = {}
    for place, (count, value) in held.items():
        expected[f"direction_dot/{place}"] = pytest.approx(-count * 10 * value * 0.1 * value, rel=1e-4)
        expected[f"direction_grad/{place}"] = pytest.approx(count * 100 * value * value, rel=1e-4)
        expected[f"direction_update/{place}"] = pytest.approx(count * 0.01 * value * value, rel=1e-4)
        expected[f"direction_weight/{place}"] = pytest.approx(count * (1 - value) ** 2, rel=1e-4, abs=1e-9)
    assert directions(rows[10]) == expected


def test_of_a_large_part_pieces_stand_for_all_of_it(probe: Probe, receiver: Receiver, mesh: DeviceMesh) -> None:
    one, other = (
        param(torch.ones(300_000), mesh, Shard(0), Shard(0)),
        param(torch.ones(90_000), mesh["inner"], Shard(0)),
    )
    optimizer = torch.optim.SGD([one, other], lr=0.1)
    for _ in range(11):
        grad(one, 1.0)
        grad(other, 2.0)
        step(optimizer)
    rows = receiver.take().rows
    # A clip is not undone where the gradients of all are not known.
    assert set(directions(rows[9])) == {"promise_dot/4x1", "promise_dot/2x1"}
    found = directions(rows[10])
    assert found["direction_update/4x1"] == pytest.approx(300_000 * 0.01, rel=0.1)
    assert found["direction_update/2x1"] == pytest.approx(90_000 * 0.04, rel=0.3)
    assert found["direction_update/4x1"] / 0.01 + found["direction_update/2x1"] / 0.04 == pytest.approx(
        390_000, rel=1e-3
    )


def test_what_ranks_hold_alike_they_look_at_alike_whatever_else_they_hold(mesh: DeviceMesh) -> None:
    looked = []
    for size in (150_000, 150_100, 10):
        alike = param(torch.zeros(1000, 400), mesh, Replicate(), Replicate())
        direction = Direction(HostRing())
        assert direction.look(torch.optim.SGD([param(torch.zeros(size), mesh, Shard(0), Shard(0)), alike], lr=0.1))
        looked.append([piece[1:] for piece in direction._pieces if piece.param is alike])
    assert len(looked[0]) > 10
    assert looked[0] == looked[1] == looked[2]


def test_parameters_that_are_unfrozen_later_are_taken_in(probe: Probe, receiver: Receiver, mesh: DeviceMesh) -> None:
    one, head = param(torch.ones(3), mesh, Shard(0), Shard(0)), torch.nn.Parameter(torch.ones(2), requires_grad=False)
    optimizer = torch.optim.SGD([head, one], lr=0.1)
    for number in range(31):
        grad(one, 1.0)
        if number >= 15:
            head.requires_grad_(True)
            grad(head, 1.0)
        step(optimizer)
    rows = receiver.take().rows
    # The first look after that finds one that was not there before.
    assert [n for n, row in enumerate(rows) if "direction_dot/4x1" in row] == [10, 30]
    found = {n: row["direction_update/whole"] for n, row in enumerate(rows) if "direction_dot/whole" in row}
    assert found == {30: pytest.approx(0.02)}


def test_frozen_parameters_make_no_parts_of_what_is_whole(probe: Probe, receiver: Receiver, mesh: DeviceMesh) -> None:
    """As those of a sharded model whose plain adapters are trained; some of it lies where nobody could add it up."""
    odd = DeviceMesh("cpu", [0, 1, 3])
    frozen = [param(torch.ones(3), mesh, Shard(0), Shard(0)), param(torch.ones(2), odd, Shard(0))]
    adapter = torch.nn.Parameter(torch.ones(2))
    for one in frozen:
        one.requires_grad_(False)
    optimizer = torch.optim.SGD([*frozen, adapter], lr=0.1)
    for _ in range(11):
        grad(adapter, 1.0)
        step(optimizer)
    rows = receiver.take().rows
    assert rows[9]["predicted_decrease"] == pytest.approx(0.2)
    assert rows[10]["hypergrad_cos"] == pytest.approx(1.0)


def test_after_clipped_values_only_the_lengths_are_told(probe: Probe, receiver: Receiver, mesh: DeviceMesh) -> None:
    one = param(torch.ones(3), mesh, Shard(0), Shard(0))
    optimizer = torch.optim.SGD([one], lr=0.1)
    for _ in range(11):
        grad(one, 1.0)
        torch.ones((), requires_grad=True).mul(2.0).backward()
        torch.nn.utils.clip_grad_value_([one], 0.5)
        optimizer.step()
    assert [set(directions(row)) for row in receiver.take().rows[9:]] == [
        set(),
        {"direction_update/4x1", "direction_weight/4x1"},
    ]


def test_gradients_that_lie_elsewhere_than_their_parameters_have_no_direction(
    probe: Probe, receiver: Receiver, mesh: DeviceMesh
) -> None:
    one, other = param(torch.zeros(3), mesh, Replicate(), Replicate()), param(torch.zeros(2), mesh, Shard(0), Shard(0))
    optimizer = torch.optim.SGD([one, other], lr=0.0)
    for _ in range(11):
        grad(one, 2.0, Partial(), Replicate())
        grad(other, 1.0)
        step(optimizer)
    assert [directions(row) for row in receiver.take().rows] == [{}] * 11
    assert probe.failures == 0


def test_a_number_that_lies_over_ranks_is_not_read_at_its_address(
    probe: Probe, receiver: Receiver, mesh: DeviceMesh
) -> None:
    """It has none: to read there would end the process."""
    total = DTensor.from_local(torch.tensor(3.0), mesh, (Replicate(), Replicate()), run_check=False)
    assert peek(total) is None
