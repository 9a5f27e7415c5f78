"""What arrives of trainings by the real libraries, against what these say of them themselves."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.agent.conftest import FakeTelemetry, Home, Seen, wait_until

from steersman.agent.frameworks.companion import Companion, unwrapped
from steersman.v1 import telemetry_pb2 as pb
from steersman.v1 import types_pb2

TRAININGS = Path(__file__).parent / "trainings.py"
STOPPED = ("huggingface_breaks", "lightning_breaks")
FOUND = ("huggingface", "huggingface_plain", "lightning_fits", "fabric", "accelerates")
ACCUMULATED = ("huggingface_accumulates", "lightning_accumulates")
WATCHED = (*FOUND, "lightning_under_its_old_name")


@dataclass(frozen=True)
class Trained:
    """One training: what its library says of it, and what arrived."""

    said: dict[str, Any]
    seen: Seen

    def series(self, name: str) -> list[float]:
        return list(self.seen.values[0].get(name, {}).values())


def train(folder: Path, *names: str) -> dict[str, Trained]:
    """Run trainings, each in a child of one process, and wait for the end of every job."""

    async def running() -> dict[str, Trained]:
        daemon = FakeTelemetry()
        await daemon.start()
        # A budget that a busy machine keeps: every row and norm is wanted here.
        run = ["-c", "from steersman.cli.main import main; main()", "run", "--quiet", "--budget", "1000000"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *run, "--", sys.executable, str(TRAININGS), str(folder), *names),
            env=Home(folder).environ(HF_HUB_OFFLINE="1", STEERSMAN_DAEMON=daemon.address),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        codes = json.loads(out.decode().splitlines()[-1])
        assert codes == [int(name.endswith("_breaks")) for name in names], err.decode()
        said = {name: json.loads((folder / f"{name}.json").read_text()) for name in names}

        def jobs() -> dict[str, Seen]:
            by_process = {rank.pid: seen for seen in daemon.jobs.values() for rank in seen.hello.ranks}
            return {name: seen for name in names if (seen := by_process.get(said[name]["pid"])) and seen.end}

        await wait_until(lambda: len(jobs()) == len(names))
        await daemon.stop()
        assert daemon.order_broken == []
        return {name: Trained(said[name], seen) for name, seen in jobs().items()}

    return asyncio.run(asyncio.wait_for(running(), 170))


@pytest.fixture(scope="module")
def trained() -> Iterator[dict[str, Trained]]:
    """All trainings, by their names; with a + those that were given Steersman's callback."""
    folder = Path(tempfile.mkdtemp(prefix="sm-"))
    with_callback = [f"+{name}" for name in (*WATCHED, *ACCUMULATED, *STOPPED)]
    yield train(folder, *FOUND, *with_callback)
    shutil.rmtree(folder, ignore_errors=True)


def check_steps(one: Trained) -> None:
    """Each step's loss, norm and learning rate is the one that the library itself logged."""
    steps = len(one.said["loss"])
    assert steps == 12
    assert list(one.seen.values[0]["loss"]) == list(range(steps))
    assert one.series("loss") == pytest.approx(one.said["loss"], rel=1e-5)
    assert one.series("grad_norm") == pytest.approx(one.said["grad_norm"], rel=1e-5)
    assert one.series("lr/0") == pytest.approx(one.said["learning_rate"])


def check_losses(series: Mapping[str, dict[int, float]], said: Mapping[str, list[float]]) -> None:
    """Each evaluation set's losses are the library's."""
    names = {f"val_loss/{name}" if name else "val_loss": losses for name, losses in said.items()}
    assert {name: list(series[name].values()) for name in series if name.startswith("val_loss")} == {
        name: pytest.approx(losses, rel=1e-5) for name, losses in names.items()
    }


@pytest.mark.parametrize("name", WATCHED)
def test_a_callback_gives_each_step_and_each_evaluation(trained: dict[str, Trained], name: str) -> None:
    one = trained[f"+{name}"]
    check_steps(one)
    check_losses(one.seen.values[0], one.said["losses"])


@pytest.mark.parametrize("name", WATCHED)
def test_a_callback_passes_on_what_was_asked_for_and_that_all_is_well(trained: dict[str, Trained], name: str) -> None:
    seen = trained[f"+{name}"].seen
    assert (seen.hello.job, seen.hello.way_in, seen.hello.planned_steps) == (f"+{name}", "watch", 12)
    assert (seen.hello.policy, seen.hello.limits.max_factor) == (types_pb2.POLICY_ADVISE, 2.0)
    assert seen.end is not None
    assert seen.end.outcome == pb.JobEnd.OUTCOME_FINISHED
    (optimizer,) = seen.hello.ranks[0].optimizers
    assert optimizer.class_name.startswith("torch.optim.")


def test_accumulated_micro_batches_are_one_step(trained: dict[str, Trained]) -> None:
    for name in ("huggingface_accumulates", "accelerates"):
        one = trained[f"+{name}"]
        assert one.series("backward_calls") == [2.0] * 12
        assert one.series("grad_norm") == pytest.approx(one.said["grad_norm"], rel=1e-5)
        assert one.series("loss") == pytest.approx(one.said["loss"], rel=1e-4)
    one = trained["+lightning_accumulates"]
    assert one.series("backward_calls") == [2.0] * 6
    batches = one.said["loss"]
    assert one.series("loss") == pytest.approx(
        [(a + b) / 2 for a, b in zip(*[iter(batches)] * 2, strict=True)], rel=1e-5
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [("huggingface_breaks", "Broken ended the program"), ("lightning_breaks", "Broken in the training loop")],
)
def test_a_training_that_an_exception_ended_has_failed(trained: dict[str, Trained], name: str, words: str) -> None:
    end = trained[f"+{name}"].seen.end
    assert end is not None
    assert (end.outcome, end.message) == (pb.JobEnd.OUTCOME_FAILED, words)


@pytest.mark.parametrize("name", FOUND)
def test_the_same_is_found_with_no_callback(trained: dict[str, Trained], name: str) -> None:
    one = trained[name]
    check_steps(one)
    assert one.seen.hello.way_in == "run"
    if name == "huggingface":
        return  # transformers' own models sum their losses up and divide later, which nobody sees from outside
    losses = one.series("val_loss")
    if name == "lightning_fits":
        del losses[0]  # of Lightning's sanity check, which is as good a validation as any
    assert losses == pytest.approx(one.said["losses"][""], rel=1e-5)


@pytest.mark.parametrize(
    ("module", "missing", "words"),
    [
        ("huggingface", "transformers", "needs transformers, which cannot be imported here"),
        ("lightning", "lightning.pytorch", "needs lightning, which cannot be imported here"),
        ("accelerate", "accelerate.tracking", "needs accelerate, which cannot be imported here"),
    ],
)
def test_a_missing_library_is_explained(module: str, missing: str, words: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"try: import steersman.agent.frameworks.{module}\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert words in done.stdout
    assert done.stdout.rstrip().endswith(f"pip install {words.split()[1].rstrip(',')}")


def test_the_callback_is_of_the_lightning_that_the_script_has_imported() -> None:
    code = (
        "import sys, types\n"
        "old = sys.modules['pytorch_lightning'] = types.ModuleType('pytorch_lightning')\n"
        "class Callback: pass\n"
        "old.Callback = Callback\n"
        "from steersman.agent.frameworks.lightning import SteersmanCallback\n"
        "print(SteersmanCallback.__mro__[1] is Callback, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True False\n", "")


def companion(**asked: Any) -> Companion:
    return Companion(**{"job": None, "policy": "observe", "limits": None, "daemon": None, "budget": 1e-4, **asked})


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"policy": "atuo"}, "'atuo' is no policy; did you mean 'auto'?"),
        ({"limits": {"maxfactor": 2}}, "'maxfactor' is no limit; did you mean 'max_factor'?"),
        ({"daemon": "nowhere"}, "'nowhere' is no address of a daemon; write HOST:PORT"),
        ({"budget": 0}, "budget must be a positive number of seconds, not 0"),
    ],
)
def test_a_mistake_is_explained_when_the_callback_is_made(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as raised:
        companion(**asked)
    assert str(raised.value).startswith(words)


def test_nothing_is_raised_into_a_training_that_cannot_be_watched(caplog: pytest.LogCaptureFixture) -> None:
    made = companion()
    made.begin(None, None, float("inf"))
    made.log({"": 1.0})
    made.end("finished")
    assert not made.watching
    assert "watch needs a torch optimizer, not NoneType" in caplog.text


def test_a_wrapper_is_one_that_torch_has_not_set_up() -> None:
    class Wrapper:
        def __init__(self, optimizer: Any) -> None:
            self.optimizer = optimizer

    class Optimizer:
        def __init__(self, optimizer: Any = None) -> None:
            self.optimizer = optimizer
            self._optimizer_step_pre_hooks: dict[int, Any] = {}

    inner = Optimizer()
    assert unwrapped(Wrapper(Wrapper(inner))) is inner
    lookahead = Optimizer(inner)  # steps another, and is one itself
    assert unwrapped(Wrapper(lookahead)) is lookahead
