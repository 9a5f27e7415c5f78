"""What the probe adds to an optimizer step, beside what trackers add for the same three scalars.

The probe is measured by what `steersman bench probe` uses, and its report is the same. Then each tracker: blocks of
the bare loop and of one that gives the tracker loss, norm and learning rate of every step alternate likewise. What a
tracker does in threads and processes of its own is in the figure as far as it slows the loop down.

    python -m benchmarks.probe_overhead [--case small|large|both] [--blocks N] [--alone] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from steersman.agent.measure.clock import HostClock
from steersman.agent.measure.ears import Ears
from steersman.agent.measure.figures import Added, compared
from steersman.agent.measure.overhead import FEWEST, measure
from steersman.agent.measure.training import CASES, Case, Training, run_block

Log = Callable[[dict[str, float]], Any]


@contextlib.contextmanager
def wandb_offline(folder: Path) -> Iterator[Log]:
    """Wandb, writing below a folder."""
    import wandb

    run = wandb.init(project="bench", mode="offline", dir=str(folder))
    yield run.log
    run.finish()


@contextlib.contextmanager
def trackio_offline(folder: Path) -> Iterator[Log]:
    """Trackio, writing below a folder."""
    import trackio

    # It says things on standard output, which is for our figures.
    with contextlib.redirect_stdout(sys.stderr):
        run = trackio.init(project="bench")
        yield run.log
        trackio.finish()


@contextlib.contextmanager
def tensorboard_writer(folder: Path) -> Iterator[Log]:
    """TensorBoard's writer as torch has it, writing below a folder."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard")) as writer:
        step = 0

        def log(scalars: dict[str, float]) -> None:
            nonlocal step
            step += 1
            for name, value in scalars.items():
                writer.add_scalar(name, value, step)

        yield log


@contextlib.contextmanager
def mlflow_files(folder: Path) -> Iterator[Log]:
    """MLflow with its store of files, below a folder."""
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_ALLOW_FILE_STORE="true", GIT_PYTHON_REFRESH="quiet")
    import mlflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its makers would rather have a database is not our question
        mlflow.set_tracking_uri((folder / "mlflow").as_uri())
        mlflow.set_experiment("bench")
        with mlflow.start_run():
            step = 0

            def log(scalars: dict[str, float]) -> None:
                nonlocal step
                step += 1
                mlflow.log_metrics(scalars, step=step)

            yield log


TRACKERS = {
    "wandb offline": wandb_offline,
    "trackio": trackio_offline,
    "TensorBoard writer": tensorboard_writer,
    "MLflow file store": mlflow_files,
}


def measure_tracker(case: Case, blocks: int, log: Log) -> Added:
    """A tracker that is given loss, norm and LR of every step, beside the bare loop."""
    training, clock = Training(case, "cpu"), HostClock()
    params = list(training.model.parameters())

    def after(loss: torch.Tensor) -> None:
        norm = torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
        log({"loss": loss.item(), "grad_norm": norm.item(), "lr": training.optimizer.param_groups[0]["lr"]})

    bare, logged = [], []
    for _ in range(blocks):
        bare.append(run_block(training, clock))
        logged.append(run_block(training, clock, after))
    return compared(logged, bare)


def trackers(case: Case, blocks: int) -> dict[str, Any]:
    """All of them, each by itself; one that fails says why and leaves the others alone."""
    found: dict[str, Any] = {}
    for way, opened in TRACKERS.items():
        folder = Path(tempfile.mkdtemp(prefix="steersman-bench-"))
        os.environ.update(
            TRACKIO_DIR=str(folder / "trackio"), HF_HUB_OFFLINE="1", WANDB_MODE="offline", WANDB_SILENT="true",
            WANDB_DIR=str(folder), WANDB_CACHE_DIR=str(folder), WANDB_CONFIG_DIR=str(folder),
            WANDB_ERROR_REPORTING="false",
        )  # fmt: skip
        try:
            with opened(folder) as log:
                found[way] = asdict(measure_tracker(case, blocks, log))
        except Exception as error:  # noqa: BLE001 - other people's code, and the other figures are worth having
            traceback.print_exc()
            found[way] = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="What the probe adds to an optimizer step, and what trackers add.")
    parser.add_argument("--case", choices=["small", "large", "both"], default="both")
    parser.add_argument("--blocks", type=int, default=100)
    parser.add_argument("--alone", action="store_true", help="leave the trackers out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [case for name, case in CASES.items() if options.case in (name, "both")]
    blocks = max(options.blocks, FEWEST)
    # The probe first: trackers bring threads and processes of their own.
    with Ears() as ears:
        reports = {case.name: asdict(measure(case, "cpu", blocks, ears)) for case in cases}
    for case in cases:
        reports[case.name]["trackers"] = {} if options.alone else trackers(case, blocks)
    if options.json:
        print(json.dumps(list(reports.values())))
        return
    for report in reports.values():
        print(f"{report['case']}: bare step {report['step_ms']:.3f} ms (10 % quantile {report['step_low_ms']:.3f})")
        ways = {"row without norm": report["without_norm"], "probe": report["whole"], "in budget": report["kept"],
                "patch": report["backward"]}  # fmt: skip
        for way, figures in (ways | report["trackers"]).items():
            if figures is None or "error" in figures:
                print(f"  {way:18} {figures['error'] if figures else 'there is none'}")
                continue
            first, third = figures["quartiles_us"]
            print(
                f"  {way:18} adds {figures['us']:8.1f} µs a step (quartiles {first:.1f} to {third:.1f}; "
                f"10 % quantiles {figures['low_us']:.1f}), {figures['percent']:.2f} % "
                f"({figures['low_percent']:.2f} %), {figures['us'] / report['whole']['us']:.1f} times the probe"
            )


if __name__ == "__main__":
    main()
