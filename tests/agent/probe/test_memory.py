"""Memory of a device, from books that the host keeps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from steersman.agent.probe.memory import DeviceMemory, InUse


def allocator(log: list[Any], now: int = 4096, peak: int = 8192) -> Any:
    """A kind of device whose only ability is to say what its allocator has noted."""

    def memory_stats(device: Any) -> dict[str, int]:
        log.append(device)
        return {"allocated_bytes.all.current": now, "allocated_bytes.all.peak": peak}

    return SimpleNamespace(memory_stats=memory_stats)


def optimizer(*devices: str) -> Any:
    return torch.optim.SGD([torch.nn.Parameter(torch.empty(3, device=device)) for device in devices], lr=0.1)


def test_in_host_memory_there_is_none() -> None:
    assert DeviceMemory(optimizer("cpu"), lambda kind: pytest.fail("nobody is asked")).read() is None


def test_what_the_allocator_has_noted_is_what_is_said() -> None:
    asked: list[Any] = []
    kinds: list[str] = []

    def module(kind: str) -> Any:
        kinds.append(kind)
        return allocator(asked)

    memory = DeviceMemory(optimizer("cpu", "meta", "meta"), module)
    assert memory.read() == (4096, 8192)
    assert set(kinds) == {"meta"}
    assert asked == [torch.device("meta")]


@pytest.mark.parametrize("module", [None, SimpleNamespace(), allocator([], now=0, peak=0)])
def test_an_allocator_without_books_leaves_it_unknown(module: Any) -> None:
    assert DeviceMemory(optimizer("meta"), lambda kind: module).read() is None


def test_a_step_in_ten_says_it(start: Any, receiver: Any, job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def read(memory: DeviceMemory) -> InUse:
        asked.append(memory)
        return InUse(4096.0, 8192.0)

    monkeypatch.setattr(DeviceMemory, "read", read)
    probe = start()
    work = job(lambda params: torch.optim.SGD(params, lr=0.05))
    for _ in range(30):
        work.step()
    rows = [row for row in receiver.take().rows if "device_memory" in row]
    assert [(row["step"], row["device_memory"], row["device_memory_peak"]) for row in rows] == [
        (step, 4096, 8192) for step in (9, 19, 29)
    ]
    assert len(asked) == 3
    assert probe.failures == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no accelerator whose memory could be asked for")
def test_an_accelerator_says_what_torch_says_without_waiting(probe: Any, receiver: Any, job: Any) -> None:
    work = job(lambda params: torch.optim.SGD(params, lr=0.05))
    work.model.cuda()
    work.inputs, work.targets = work.inputs.cuda(), work.targets.cuda()
    memory = DeviceMemory(work.optimizer)
    before: Any = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    found = memory.read()
    torch.cuda.set_sync_debug_mode(before)
    assert found == (torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated())
