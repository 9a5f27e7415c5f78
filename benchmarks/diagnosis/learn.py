"""Learns the combination that judges learning rates, from the tuning half of the sweep and from a school of other jobs.

    python -m benchmarks.diagnosis.learn            # writes rules/steersman/rules/judgement.json
    python -m benchmarks.diagnosis.learn --check    # leaves out a fifth of the tasks at a time, and prints what is left

Either trains the jobs of both first, where they are not kept yet: the 560 groups of the school take half an hour on two
cores.

What it learns from: runs of 1,000 steps, as they stood at several times, with the label of how they ended
(`benchmarks.diagnosis.sweep`). Held-out tasks and optimizers are never loaded. Signs are fixed where theory fixes
them: whatever else is known, longer steps never speak for "too low", nor steps that agree for "too high".
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.__main__ import say
from benchmarks.diagnosis.joined import entered
from benchmarks.diagnosis.sweep import SweepRun, groups, held_out, load_school, load_sweep, make, school

from steersman.rules.engine import Engine
from steersman.rules.features import panel
from steersman.rules.judgement import INPUTS, MIN_SAMPLES, MODEL, inputs
from steersman.rules.packs import Pack
from steersman.rules.recording import Recording

STOPS = (70, 90, 110, 130, 150, 170, 200, 230, 300, 400, 600)
"""Steps at which each run is looked at."""

ENTERED, LATER = (150, 300), (70, 110, 150, 200, 300)
"""Steps at which somebody comes, and so many later at which it is looked at."""

BLANKS = (("c_own", "gnorm_noise", "gnorm_change"), ("c_own", "rho", "ln_promise"))
"""What is unknown together: without the gradient norm, and without the promise of steps."""

SIGN = {
    "c": -1, "t_c": -1, "ln_R": 1, "ln_R_top": 1, "ln_travel": 1, "rho": -1, "above_start": 1, "fell": -1, "up": 1,
    "overshoot": 1,
}  # fmt: skip
"""How each input moves the judgement "the rate is high": 1 never down, -1 never up."""

FOLDS = 5
"""Parts of the tasks, or of the optimizers, one of which is left out at a time."""

TREES = {"low": 160, "high": 160, "octaves": 240}
SEES = {"low": INPUTS[:-1], "high": INPUTS[:-1], "octaves": INPUTS}
"""What each sees: how far a schedule has come down says how far the rate is off, and not on which side."""


Example = tuple[list[float], tuple[str, str, str, float, int, bool]]


def _unjudged() -> None:
    """The judgement of before may be of other inputs, and none is learned from."""
    panel.judge = lambda values: None  # type: ignore[attr-defined]  # it is not this module's own


def look(run: SweepRun) -> list[Example]:
    """Inputs and labels of one run at the stops, and of every second as who comes in its midst sees it."""
    found = watch(run, run.recording, 0, STOPS)
    if round(math.log2(run.lr)) % 2:
        enter = ENTERED[run.seed % len(ENTERED)]
        found += watch(run, entered(run, enter), enter, LATER)
    return found


def watch(run: SweepRun, recording: Recording, first: int, stops: Sequence[int]) -> list[Example]:
    """Inputs and labels of a recording that begins at some step, so many steps later."""
    engine = Engine(Pack(), recording.facts)
    found, at = [], 0
    for stop in stops:
        engine.feed(recording.samples.rows(at, stop))
        at = stop
        values = engine.features()
        if values.get("n_c", 0.0) < MIN_SAMPLES or "r" not in values or "i" not in values:
            continue
        about = (run.task, run.optimizer, run.label, math.log2(run.lr / run.best_lr), first + stop, first > 0)
        found.append((inputs(values), about))
    return found


def examples(processes: int = 2) -> dict[str, Any]:
    """Inputs and labels of the tuning half and of the school."""
    tuning = [pair for pair in groups() if not held_out(*pair)]
    make(processes, [(task, optimizer, "wsd") for task, optimizer in tuning])
    make(processes, school())
    runs = load_sweep(tuning) + load_school()
    say(f"looking at {len(runs)} runs")
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_unjudged) as pool:
        found = [one for some in pool.map(look, runs, chunksize=50) for one in some]
    names = ("task", "optimizer", "label", "octaves", "stop", "joined")
    columns = zip(names, zip(*(about for _, about in found), strict=True), strict=True)
    return blanked({"x": np.array([x for x, _ in found]), **{name: np.array(column) for name, column in columns}})


def blanked(data: dict[str, Any]) -> dict[str, Any]:
    """The examples, and every eighth once more for each group of inputs that may be unknown together."""
    out = {name: [column] for name, column in data.items()}
    for number, names in enumerate(BLANKS):
        part = {name: column[number::8].copy() for name, column in data.items()}
        part["x"][:, [INPUTS.index(name) for name in names]] = math.nan
        part["stop"][:] = 0  # in no figure of `check`
        for name, column in part.items():
            out[name].append(column)
    return {name: np.concatenate(columns) for name, columns in out.items()}


def weights(data: dict[str, Any]) -> Any:
    """The labels of a task count alike, but examples of a rare one (fewer than 50) count no more than 1 each."""
    pairs = np.array([f"{t} {k}" for t, k in zip(data["task"], data["label"], strict=True)])
    _, places, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    return 50.0 / np.maximum(counts[places], 50)


def fit(data: dict[str, Any], keep: Any, what: str) -> Any:
    """One forest."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    sign = -1 if what == "low" else 1
    signs = [sign * SIGN.get(name, 0) for name in SEES[what]]
    common = {
        "learning_rate": 0.08, "max_leaf_nodes": 15, "min_samples_leaf": 60, "l2_regularization": 1.0,
        "monotonic_cst": signs,
    }  # fmt: skip
    w = weights(data)
    x = data["x"][:, : len(SEES[what])]
    if what == "octaves":
        model = HistGradientBoostingRegressor(max_iter=TREES[what], **common)
        return model.fit(x[keep], np.clip(data["octaves"][keep], -7.0, 5.0), sample_weight=w[keep])
    clear = keep & (data["label"] != "grey")
    if what == "high":
        # Within a factor of two of the best a rate is not too high, whichever side of it the end loss lies; one that
        # ends well far above the best is neither.
        clear |= keep & near(data)
        clear &= ~((data["label"] == "ok") & (data["octaves"] > 1.5))
    model = HistGradientBoostingClassifier(max_iter=TREES[what], **common)
    return model.fit(x[clear], data["label"][clear] == f"too_{what}", sample_weight=w[clear])


def exported(model: Any) -> dict[str, Any]:
    """A forest as plain numbers."""
    trees, depth = [], 0
    for (predictor,) in model._predictors:
        nodes = predictor.nodes
        depth = max(depth, int(nodes["depth"].max()))
        trees.append(
            [
                [-1, 0.0, 1, 0, 0, round(float(n["value"]), 5)]
                if n["is_leaf"]
                else [
                    int(n["feature_idx"]),
                    float(f"{n['num_threshold']:.6g}"),
                    int(n["missing_go_to_left"]),
                    int(n["left"]),
                    int(n["right"]),
                    0.0,
                ]
                for n in nodes
            ]
        )
    return {"base": float(np.ravel(model._baseline_prediction)[0]), "depth": depth, "trees": trees}


def near(data: dict[str, Any]) -> Any:
    """Which are within a factor of two of the best, and not too high for all that."""
    return (np.abs(data["octaves"]) <= 1.01) & (data["label"] != "too_high")


def without(data: dict[str, Any], by: str, fold: int) -> dict[str, Any]:
    """What three forests say of a fifth of the tasks, or optimizers, that they have not seen; NaN for the rest."""
    out = np.isin(data[by], np.unique(data[by])[fold::FOLDS])
    said = {what: np.full(len(out), np.nan) for what in TREES}
    for what in TREES:
        model = fit(data, ~out, what)
        x = data["x"][out][:, : len(SEES[what])]
        said[what][out] = model.predict(x) if what == "octaves" else model.predict_proba(x)[:, 1]
    return said


def check(data: dict[str, Any], processes: int = 2) -> None:
    """What is left of it on tasks, and on optimizers, that it has not seen: a fifth of them is left out at a time."""
    folds = [(by, fold) for by in ("task", "optimizer") for fold in range(FOLDS)]
    p = {by: {what: np.full(len(data["x"]), np.nan) for what in TREES} for by in ("task", "optimizer")}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        found = pool.map(without, itertools.repeat(data), *zip(*folds, strict=True))
        for number, ((by, _), said) in enumerate(zip(folds, found, strict=True), 1):
            say(f"{number} of {len(folds)}: without a fifth of the {by}s")
            for what, values in said.items():
                p[by][what] = np.where(np.isnan(values), p[by][what], values)
    early = (data["stop"] > 0) & ~data["joined"] & (data["stop"] <= 230)
    tell(data, p["task"], early, "without its task")
    tell(data, p["optimizer"], early, "without its optimizer")
    tell(data, p["task"], (data["stop"] > 0) & data["joined"], "without its task, joined")


def tell(data: dict[str, Any], p: dict[str, Any], counted: Any, who: str) -> None:
    """Print the rates of what was said of some of the examples."""
    for what in ("low", "high"):
        wrong = counted & (data["label"] == f"too_{what}")
        fine = counted & (near(data) if what == "high" else data["label"] == "ok")
        line = " ".join(
            f"{t}: {(p[what][wrong] > t).mean():.3f}/{(p[what][fine] > t).mean():.3f}" for t in (0.5, 0.7, 0.8, 0.9)
        )
        edge = np.quantile(p[what][fine], 0.97)
        at = (p[what][wrong] > edge).mean()
        print(f"{who}, {what} beyond, of wrong/of fine: {line}; 3 % of fine {edge:.2f}: {at:.3f}")
    wrong = counted & np.isin(data["label"], ("too_low", "too_high"))
    error = np.abs(p["octaves"] - data["octaves"])[wrong]
    print(f"{who}: within a factor 4 of the best {(error <= 2.0).mean():.3f}, octaves {error.mean():.2f}")


def main() -> None:
    """Learn, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="cross-validate instead of writing")
    given = parser.parse_args()
    data = examples()
    print(f"{len(data['x'])} examples of {len(np.unique(data['task']))} tasks")
    if given.check:
        check(data)
        return
    everything = np.ones(len(data["x"]), dtype=bool)
    bounds = {
        name: [float(f(data["x"][:, INPUTS.index(name)], q)) for f, q in ((np.nanquantile, 0.0), (np.nanquantile, 1.0))]
        for name in ("ln_R", "ln_R_top")
    }
    saved = {"inputs": list(INPUTS), "bounds": bounds}
    saved |= {what: exported(fit(data, everything, what)) for what in TREES}
    MODEL.write_text(json.dumps(saved, separators=(",", ":")) + "\n")
    print(f"wrote {MODEL} ({MODEL.stat().st_size // 1024} KiB)")


if __name__ == "__main__":
    main()
