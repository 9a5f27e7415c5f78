"""The contract that every way of training is held to, whatever it is."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.agent.probe.loops.catalogue import LOOPS
from tests.agent.probe.loops.loop import pairs, ran

from steersman.agent.probe import packet

pytestmark = pytest.mark.parametrize("name", LOOPS)


def test_there_is_one_sample_for_each_step(name: str, probe: Any, receiver: Any) -> None:
    loop = ran(LOOPS[name])
    probe.close()
    rows = receiver.take().rows
    assert [row["step"] for row in rows] == list(range(len(loop.truth)))
    assert [row["seq"] for row in rows] == list(range(1, len(loop.truth) + 1))


def test_the_loss_is_what_the_script_would_log(name: str, probe: Any, receiver: Any) -> None:
    loop = ran(LOOPS[name])
    probe.close()
    for index, (truth, row) in enumerate(pairs(loop, receiver.take().rows)):
        assert row.get("loss") == (truth.loss if truth.loss is None else pytest.approx(truth.loss, rel=1e-6)), index


def test_the_norm_is_that_of_the_gradients_or_unknown(name: str, probe: Any, receiver: Any) -> None:
    loop = ran(LOOPS[name])
    probe.close()
    for index, (truth, row) in enumerate(pairs(loop, receiver.take().rows)):
        if "grad_norm" in row:
            assert row["grad_norm"] == pytest.approx(truth.norm, rel=1e-5), index
        else:
            assert not loop.norm_known, f"the norm of sample {index} is unknown"


def test_the_learning_rates_are_those_that_the_step_used(name: str, probe: Any, receiver: Any) -> None:
    loop = ran(LOOPS[name])
    probe.close()
    for index, (truth, row) in enumerate(pairs(loop, receiver.take().rows)):
        found = sorted(value for key, value in row.items() if key.startswith("lr/"))
        assert found == pytest.approx(sorted(truth.lrs), rel=1e-6), index


def test_the_probe_does_not_fail(name: str, probe: Any, receiver: Any) -> None:
    ran(LOOPS[name])
    probe.close()
    assert [e["message"] for e in receiver.of(packet.EVENT) if e["kind"] in ("probe_failed", "probe_off")] == []


def test_the_cosine_is_one_or_unknown(name: str, probe: Any, receiver: Any) -> None:
    ran(LOOPS[name], 45)
    probe.close()
    for row in receiver.take().rows:
        for column in ("hypergrad_cos", "update_norm", "weight_norm", "predicted_decrease"):
            assert math.isfinite(row.get(column, 0.0)), column
        assert -1 <= row.get("hypergrad_cos", 0.0) <= 1
