"""`steersman run` with the launchers that people start trainings with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from steersman.v1 import telemetry_pb2 as pb

if TYPE_CHECKING:
    from tests.agent.conftest import FakeTelemetry, Home, Seen, Until

PY = sys.executable
# A budget that a busy machine keeps: every row and norm is wanted here.
RUN = ("run", "--quiet", "--budget", "1000000", "--policy", "advise")

PLAIN = """
import os, sys, torch
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(20):
    optimizer.zero_grad()
    model(torch.ones(8, 4)).pow(2).mean().backward()
    optimizer.step()
"""

DISTRIBUTED = """
import os, sys, torch
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
torch.manual_seed(rank)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(20):
    optimizer.zero_grad()
    model(torch.randn(8, 4)).pow(2).mean().backward()
    optimizer.step()
torch.distributed.destroy_process_group()
"""

ACCELERATED = """
import os, sys, torch
from accelerate import Accelerator
accelerator = Accelerator(cpu=True)
model, optimizer = accelerator.prepare(model := torch.nn.Linear(4, 1), torch.optim.SGD(model.parameters(), lr=0.01))
for step in range(20):
    optimizer.zero_grad()
    accelerator.backward(model(torch.ones(8, 4)).pow(2).mean())
    optimizer.step()
accelerator.end_training()
"""

# torchrun and accelerate launch end with 1 where a worker failed, whatever it ended with.
END = "sys.exit(int(os.environ.get('CODE', 0)) if int(os.environ.get('RANK', 0)) == 0 else 0)\n"


@pytest.fixture
def folder(home: Home) -> Path:
    """Where `home` runs its commands, with a script for each kind of training."""
    for name, code in (("plain", PLAIN), ("distributed", DISTRIBUTED), ("accelerated", ACCELERATED)):
        (home.root / f"{name}.py").write_text(code + END)
    package = home.root / "lab"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "train.py").write_text("from . import __name__ as package\nassert package == 'lab'\n" + PLAIN + END)
    return home.root


def check(seen: Seen, ranks: int, code: int) -> None:
    """All steps of all ranks came, and the end was heard."""
    assert seen.hello.way_in == "run"
    assert seen.hello.world_size == ranks
    assert sorted(seen.steps) == list(range(ranks))
    assert all(steps == list(range(20)) for steps in seen.steps.values())
    assert all({"loss", "grad_norm", "lr/0"} <= columns for columns in seen.columns.values())
    assert seen.end is not None
    outcome = pb.JobEnd.OUTCOME_FAILED if code else pb.JobEnd.OUTCOME_FINISHED
    assert (seen.end.outcome, seen.end.exit_code) == (outcome, code)


TORCHRUN = [str(Path(PY).with_name("torchrun")), "--standalone", "--nproc-per-node", "2"]
ACCELERATE = [
    *(str(Path(PY).with_name("accelerate")), "launch", "--cpu", "--num_processes", "1", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no"),
]


@pytest.mark.parametrize(
    ("words", "name", "ranks", "code", "told"),
    [
        pytest.param([PY, "-m", "lab.train"], "train", 1, 5, 5, id="module"),
        pytest.param([*TORCHRUN, "distributed.py"], "distributed", 2, 5, 1, id="torchrun"),
        pytest.param([*ACCELERATE, "accelerated.py"], "accelerated", 1, 0, 0, id="accelerate"),
    ],
)
async def test_a_launcher(
    home: Home, daemon: FakeTelemetry, folder: Path, words: list[str], name: str, ranks: int, code: int, told: int
) -> None:
    got, _, err = await home.done(*RUN, "--daemon", daemon.address, "--", *words, CODE=str(code))
    assert got == told, err
    assert [seen.hello.job for seen in daemon.jobs.values()] == [name]
    (seen,) = daemon.jobs.values()
    check(seen, ranks, told)


@pytest.mark.parametrize("last", ["exit 7", "kill -9 $$"])
async def test_jobs_of_a_shell_script_end_by_their_own_word(
    home: Home, daemon: FakeTelemetry, folder: Path, until: Until, last: str
) -> None:
    script = folder / "both.sh"
    (folder / "failing.py").write_text(PLAIN + "raise KeyError('mine')\n")
    script.write_text(f"{PY} failing.py\n{PY} plain.py\n{last}\n")
    got, _, err = await home.done(*RUN, "--daemon", daemon.address, "--", "bash", str(script))
    assert got == (7 if last == "exit 7" else 137), err
    await until(lambda: len(daemon.jobs) == 2 and all(seen.end for seen in daemon.jobs.values()))
    ends = []
    for seen in daemon.jobs.values():
        assert seen.hello.job == "both"
        assert seen.steps == {0: list(range(20))}
        assert seen.end is not None
        ends.append((seen.end.outcome, seen.end.exit_code, seen.end.signal, seen.end.message))
    how = "with exit code 7" if last == "exit 7" else "by signal 9"
    words = f"the command that started this and other jobs ended {how}"
    assert ends == [(pb.JobEnd.OUTCOME_FAILED, 1, 0, ""), (pb.JobEnd.OUTCOME_FINISHED, 0, 0, words)]


WORKING = """
import torch
class Data(torch.utils.data.Dataset):
    def __len__(self): return 1
    def __getitem__(self, index):
        own = torch.nn.Linear(2, 1)
        inner = torch.optim.SGD(own.parameters(), lr=0.77)
        for _ in range(3):
            own(torch.ones(2)).sum().backward()
            inner.step()
        return 1.0
for _ in torch.utils.data.DataLoader(Data(), num_workers=1): pass
"""


async def test_a_worker_that_trains_leaves_the_name_to_its_job(
    home: Home, daemon: FakeTelemetry, folder: Path, until: Until
) -> None:
    (folder / "loading.py").write_text(WORKING + PLAIN)
    got, _, err = await home.done(*RUN, "--daemon", daemon.address, "--", PY, "loading.py")
    assert got == 0, err
    await until(lambda: len(daemon.jobs) == 2 and all(seen.end for seen in daemon.jobs.values()))
    # The daemon gives the name to whom it hears of first, and that is the one that was launched.
    assert [seen.steps for seen in daemon.jobs.values()] == [{0: list(range(20))}, {0: list(range(3))}]
