"""The benchmarks that count, on a few configurations; and that they would see what they look for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from benchmarks import probe_identical, probe_waits
from torch.optim.optimizer import register_optimizer_step_pre_hook

from steersman.agent.probe import current


@pytest.fixture(autouse=True)
def _one_thread_and_no_probe_left() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    probe = current()
    if probe is not None:
        probe.close()


@pytest.fixture
def meddling(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, Callable[[Any], Any]], None]:
    """Something that is done before each step while a probe is there, as a probe that broke its word would."""

    def place(module: Any, meddle: Callable[[Any], Any]) -> None:
        install = module.install

        def installed(config: Any) -> Any:
            probe = install(config)

            def before(optimizer: Any, args: Any, kwargs: Any) -> None:
                meddle(optimizer)

            handle = register_optimizer_step_pre_hook(before)
            close = probe.close

            def closed() -> None:
                handle.remove()
                close()

            monkeypatch.setattr(probe, "close", closed)
            return probe

        monkeypatch.setattr(module, "install", installed)

    return place


def first(optimizer: Any) -> Any:
    return optimizer.param_groups[0]["params"][0]


@pytest.mark.parametrize("name", ["scaled_clipped", "closure_adamw", "actor_critic"])
def test_nothing_waits_more_in_any_way_of_watching(name: str) -> None:
    (found,) = probe_waits.loops(name)
    assert found["adjusted"], "else it shows nothing"
    assert found["added"] == {way: {} for way in probe_waits.WAYS}
    assert all(found["rows"].values())
    assert probe_waits.unwatched({"loops": [found], "optimizers": []}) == []


def test_one_more_wait_a_round_is_seen(meddling: Callable[..., None]) -> None:
    meddling(probe_waits, lambda optimizer: first(optimizer).sum().item())
    (found,) = probe_waits.loops("plain")
    assert found["added"]["observing"] == {"_local_scalar_dense": probe_waits.ROUNDS}
    (found,) = probe_waits.optimizers("SGD")
    assert found["added"] == {"_local_scalar_dense": 40}


def test_no_row_is_no_proof() -> None:
    loop = {"loop": "plain", "rows": {"observing": 3, "without norm": 0, "adjusting": 3}}
    report = {"loops": [loop], "optimizers": [{"optimizer": "SGD", "rows": 0}]}
    assert probe_waits.unwatched(report) == ["plain, without norm", "SGD"]


def test_equal_to_the_last_bit() -> None:
    report = probe_identical.measure("LBFGS")
    assert [one["variant"] for one in report["variants"]] == ["", "strong_wolfe", "tensor-lr"]
    assert all(one["equal"] and one["watched"] for one in report["variants"])
    assert probe_identical.measure("Adam")["refused"].keys() >= {"Adam-capturable", "Adam-differentiable"}


def test_one_bit_is_seen(meddling: Callable[..., None]) -> None:
    def change(optimizer: Any) -> None:
        with torch.no_grad():
            weight = first(optimizer).view(-1)
            weight[0] = torch.nextafter(weight[0], weight[0] + 1)

    meddling(probe_identical, change)
    found = probe_identical.measure("Adagrad")["variants"]
    assert len(found) > 3
    assert not any(one["equal"] for one in found)
