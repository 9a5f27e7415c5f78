"""A training over two ranks that knows nothing of Steersman: run as `sharded_job.py KIND FILE`.

Writes what the norm of all gradients was before each step, how its gradients lay to the step before, what that step
changed, what decrease it promised, all from full tensors, and how many collectives were made.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

STEPS = 12


def collectives() -> int:
    """How many were made so far, over all process groups.

    Not by a dispatch mode: gloo's threads keep it, and then may wait for the interpreter lock while main, holding it,
    waits for them to end.
    """
    groups: list[Any] = list(dist.distributed_c10d._world.pg_map)  # torch does not type what is asked for here
    return sum(int(group._get_sequence_number_for_group()) for group in groups)


class Net(nn.Module):
    """Sizes that two ranks cannot share evenly; of the last layer, where there is one, a rank holds nothing."""

    def __init__(self, last: bool = False) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(6, 8), nn.Linear(8, 3)
        self.last = nn.Linear(3, 1) if last else None
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.out(self.into(x).tanh()) * self.scale
        return y if self.last is None else self.last(y)


def ddp() -> nn.Module:
    return nn.parallel.DistributedDataParallel(Net())


def fsdp2() -> nn.Module:
    net = Net(last=True)
    mesh = init_device_mesh("cpu", (2,))
    for part in (net.into, net.out, net):
        fully_shard(part, mesh=mesh)
    return net


def tensor_parallel() -> nn.Module:
    # `scale` stays a plain parameter, and the bias of `out` is replicated.
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("tp",))
    return parallelize_module(Net(), mesh, {"into": ColwiseParallel(), "out": RowwiseParallel()})


def hybrid() -> nn.Module:
    net = Net()
    fully_shard(net, mesh=init_device_mesh("cpu", (2, 1), mesh_dim_names=("replicas", "shards")))
    return net


def fsdp1() -> nn.Module:
    return FullyShardedDataParallel(Net(), device_id=torch.device("cpu"), use_orig_params=FLAT)


FLAT = False
KINDS: dict[str, Callable[[], nn.Module]] = {
    "ddp": ddp,
    "fsdp2": fsdp2,
    "fsdp2_clipped": fsdp2,
    "fsdp2_told": fsdp2,
    "tensor_parallel": tensor_parallel,
    "hybrid": hybrid,
    "zero": ddp,
    "fsdp1": fsdp1,
    "fsdp1_orig": fsdp1,
}


def full(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.full_tensor() if isinstance(gradient, DTensor) else gradient


def flat(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.cat([full(t.detach()).double().reshape(-1).clone() for t in tensors])


def main(kind: str, path: str) -> None:
    global FLAT
    faulthandler.dump_traceback_later(90, exit=True)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    FLAT = kind == "fsdp1_orig"
    torch.manual_seed(0)
    model = KINDS[kind]()
    optimizer: torch.optim.Optimizer
    if kind == "zero":
        optimizer = ZeroRedundancyOptimizer(model.parameters(), torch.optim.SGD, lr=0.05)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    # Tensor parallelism works on the same data, all others on their own.
    torch.manual_seed(0 if kind == "tensor_parallel" else rank)
    norms = []
    cosines, updates, promises = [], [], []
    update = torch.zeros(1)
    for number in range(STEPS):
        optimizer.zero_grad()
        model(torch.randn(4, 6)).pow(2).mean().backward()
        gradient, before = flat(p.grad for p in model.parameters() if p.grad is not None), flat(model.parameters())
        norms.append(float(gradient.norm()))
        if number:
            cosines.append(float(-(gradient @ update) / (gradient.norm() * update.norm())))
        if kind == "fsdp2_clipped":
            nn.utils.clip_grad_norm_(model.parameters(), norms[-1] / 3)
        elif kind == "fsdp2_told":
            total = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
            nn.utils.clip_grads_with_norm_(list(model.parameters()), norms[-1] / 3, full(total))
        optimizer.step()
        update = flat(model.parameters()) - before
        updates.append(float(update.norm()))
        promises.append(-float(gradient @ update))
    told = {"norms": norms, "cosines": cosines, "updates": updates, "promises": promises, "collectives": collectives()}
    Path(path + f".{rank}").write_text(json.dumps(told))
    # gloo of torch 2.13 can hang where a group is destroyed while its thread is still at work.
    time.sleep(0.5)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
