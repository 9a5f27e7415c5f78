"""Programs that have never heard of Steersman, on one process: what is seen of them is what they say themselves."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from .conftest import Stack, wait_for
from .trial import BESIDE, PROGRAMS, Program, Trial, check_steps, check_tests

# Three starts each, of libraries that take seconds to be imported: on a busy machine that may take minutes.
pytestmark = [pytest.mark.e2e, pytest.mark.programs, pytest.mark.timeout(480)]

PYTHON = sys.executable
PROGRAM = {
    "digits": Program((PYTHON, str(PROGRAMS / "digits.py"))),
    "chars": Program((PYTHON, str(PROGRAMS / "chars.py")), enough=30),
    "gan": Program((PYTHON, str(PROGRAMS / "gan.py"))),
    "pole": Program((PYTHON, "play.py"), folder="pole", enough=30),
    "waves": Program((PYTHON, str(PROGRAMS / "waves.py"))),
    "lit": Program((PYTHON, str(PROGRAMS / "lit.py")), log="log.{}.jsonl", enough=100),
    "finetune": Program((PYTHON, str(PROGRAMS / "finetune.py"))),
    "accelerated": Program(
        (str(BESIDE / "accelerate"), "launch", "--cpu", str(PROGRAMS / "accelerated.py")),
        log="log.{}.jsonl",
        launched=True,
        alone=False,
    ),
}


@pytest.mark.parametrize("name", ["digits", "chars", "pole", "waves", "lit", "finetune", "accelerated"])
def test_what_is_seen_is_what_the_program_says(harbour: Stack, name: str) -> None:
    trial = Trial(harbour, PROGRAM[name], name)
    attached = trial.attached()
    run = trial.beside()
    for seen, way in ((attached, "attach"), (run, "run")):
        said = trial.truth(way)
        first = check_steps(said, seen, attached=way == "attach")
        found = seen.series("val_loss")
        steps = len(seen.series("lr/0"))
        CHECKS[name](said.tests, found, first, steps)
        calls = set(seen.series("backward_calls").values())
        if name == "waves":
            assert min(calls) > 1, "L-BFGS calls its closure several times a step"
        else:
            assert calls == {CALLS.get(name, 1.0)}
        assert seen.events() <= {"detached"}, "nothing was out of order"


CALLS = {"chars": 4.0, "accelerated": 2.0}


def unknown(tests: Any, found: Any, first: int, steps: int) -> None:
    assert found == {}


def of_both_splits(tests: Any, found: Any, first: int, steps: int) -> None:
    """Which of them is the training data nobody sees from outside: it is the mean of all that was evaluated."""
    both = {at: (said["train"] + said["val"]) / 2 for at, said in tests.items()}
    check_tests(both, found, first, steps)


def with_the_sanity_check(tests: Any, found: Any, first: int, steps: int) -> None:
    """Lightning's own, before any training, which counts as a validation."""
    if not first:
        assert found.pop(0) > 0
    check_tests(tests, found, first, steps)


CHECKS = {
    "digits": unknown,
    "chars": of_both_splits,
    "pole": unknown,
    "waves": check_tests,
    "lit": with_the_sanity_check,
    "finetune": unknown,
    "accelerated": check_tests,
}


def test_a_gans_two_optimizers_have_samples_and_rates_of_their_own(harbour: Stack) -> None:
    trial = Trial(harbour, PROGRAM["gan"], "gan")
    attached = trial.attached()
    run = trial.beside()
    own = [step[name] for step in trial.truth("run").steps for name in ("loss_d", "loss_g")]
    norms = [step[name] for step in trial.truth("run").steps for name in ("norm_d", "norm_g")]
    assert list(run.series("loss").values()) == pytest.approx(own)
    assert list(run.series("grad_norm").values()) == pytest.approx(norms, rel=1e-5)
    assert set(run.series("lr/0").items()) == {(step, 4e-4) for step in range(0, len(own), 2)}
    assert set(run.series("lr/1.0").items()) == {(step, 2e-4) for step in range(1, len(own), 2)}
    assert run.events() == {"loss_is_a_sum"}, (
        "two losses for one step of the discriminator: their sum, and that is said"
    )
    assert "val_loss" not in run.names()

    # Whose step came first after the attachment has number 0.
    own = [step[name] for step in trial.truth("attach").steps for name in ("loss_d", "loss_g")]
    values = list(attached.series("loss").values())
    (at,) = [at for at in range(len(own)) if own[at : at + len(values)] == pytest.approx(values)]
    first, second = (4e-4, 2e-4) if at % 2 else (2e-4, 4e-4)
    assert set(attached.series("lr/0").values()) == {first}
    assert set(attached.series("lr/1.0").values()) == {second}
    assert min(attached.series("loss")) == 1


@pytest.mark.parametrize("name", ["digits", "chars", "gan"])
def test_an_operator_halves_the_rate_and_takes_that_back(harbour: Stack, name: str) -> None:
    trial = Trial(harbour, PROGRAM[name], f"{name}-steered")
    child = trial.run()
    trial.grown("run", 10)
    job = f"{name}-steered-run"
    wait_for("its first rows", lambda: (j := harbour.job(job)) and (j["step"] or 0) >= 5)
    made = harbour.json("adjust", job, "scale", "0.5", "--yes")["adjustment"]
    trial.grown("run", 5)
    assert harbour.json("revert", job)["adjustment"]["state"] == "reverted"
    trial.grown("run", 5)
    (trial.out("run") / "stop").touch()
    trial.finish(child)
    assert made["state"] in ("applied", "probation")
