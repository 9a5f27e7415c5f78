"""Jobs of two ranks, from probe to daemon: the gradient norm that is stored is that of all gradients, or none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Stack

SCRIPT = Path(__file__).with_name("sharded_job.py")
TORCHRUN = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", "2"]


def told(path: Path, rank: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"{path}.{rank}").read_text())
    return found


def trained(stack: Stack, kind: str) -> dict[str, Any]:
    """Run a training of this kind under Steersman; what it says itself."""
    stack.start_daemon()
    path = stack.folder / "watched"
    words = ["--quiet", "--budget", "1000000", "--job", kind, "--", *TORCHRUN, str(SCRIPT), kind, str(path)]
    run = stack.run(*words)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    return told(path, 0)


@pytest.mark.parametrize("kind", ["ddp", "fsdp2", "fsdp2_clipped", "fsdp2_told", "tensor_parallel", "hybrid", "zero"])
def test_norm_and_direction_are_those_of_the_whole_step(stack: Stack, kind: str) -> None:
    truth = trained(stack, kind)
    series = stack.series(kind, "grad_norm")
    assert series["steps"] == list(range(len(truth["norms"])))
    assert series["values"] == pytest.approx(truth["norms"], rel=1e-5)
    job = stack.job(kind)
    assert job is not None
    assert job["grad_norm"] == pytest.approx(truth["norms"][-1], rel=1e-5)
    if kind == "zero":
        return  # its class is no torch optimizer's, and what its steps mean is not known
    cosine, update, promise = (stack.series(kind, n) for n in ("hypergrad_cos", "update_norm", "predicted_decrease"))
    assert [cosine["steps"], update["steps"], promise["steps"]] == [[10], [10], [9]]
    assert cosine["values"] == [pytest.approx(truth["cosines"][9], abs=1e-5)]
    assert update["values"] == [pytest.approx(truth["updates"][9], rel=1e-5)]
    assert promise["values"] == [pytest.approx(truth["promises"][9], rel=1e-4)]


@pytest.mark.parametrize("kind", ["fsdp1", "fsdp1_orig"])
def test_a_piece_of_flat_parameters_is_not_passed_off_as_the_whole(stack: Stack, kind: str) -> None:
    trained(stack, kind)
    assert len(stack.series(kind, "loss")["steps"]) == 12
    names = stack.json("series", kind)
    assert "grad_norm" not in json.dumps(names)
    job = stack.json("show", kind)
    assert "FSDP1's flat parameters" in json.dumps(job)
    assert "predicted_decrease" not in json.dumps(names)


@pytest.mark.parametrize("kind", ["fsdp2", "fsdp2_clipped", "tensor_parallel"])
def test_no_collective_is_added(stack: Stack, kind: str) -> None:
    watched = trained(stack, kind)
    path = stack.folder / "alone"
    subprocess.run(
        [*TORCHRUN, str(SCRIPT), kind, str(path)],
        env=stack.environment({"STEERSMAN": "off"}),
        capture_output=True,
        check=True,
        timeout=120,
    )
    alone = told(path, 0)
    assert alone["collectives"] > 0
    assert watched == alone
