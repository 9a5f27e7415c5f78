"""Learns the combination that judges learning rates, from the tuning half of the sweep alone.

    python -m benchmarks.diagnosis.learn            # writes rules/steersman/rules/judgement.json
    python -m benchmarks.diagnosis.learn --check    # leaves out one task, then one optimizer at a time, and prints that

What it learns from: runs of 1,000 steps of the tuning tasks, as they stood at several times, with the label of how they
ended (`benchmarks.diagnosis.sweep`). Held-out tasks and optimizers are never loaded. Signs are fixed where theory fixes
them: whatever else is known, longer steps never speak for "too low", nor steps that agree for "too high".
"""

from __future__ import annotations

import argparse
import json
import math
import os
from typing import Any

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.diagnosis.sweep import load_sweep

from steersman.rules.engine import Engine
from steersman.rules.judgement import INPUTS, MIN_SAMPLES, MODEL, inputs
from steersman.rules.packs import Pack

STOPS = (110, 150, 200, 250, 400, 600)
"""Steps at which each run is looked at."""

SIGN = {
    "c": -1, "t_c": -1, "ln_R": 1, "ln_R_top": 1, "ln_travel": 1, "rho": -1, "above_start": 1, "fell": -1, "up": 1,
    "overshoot": 1,
}  # fmt: skip
"""How each input moves the judgement "the rate is high": 1 never down, -1 never up."""

TREES = {"low": 80, "high": 80, "octaves": 120}


def examples() -> dict[str, Any]:
    """Inputs and labels of the tuning half."""
    rows: list[list[float]] = []
    about: list[tuple[str, str, str, float, int]] = []
    for run in load_sweep():
        if run.held_out:
            continue
        engine = Engine(Pack(), run.recording.facts)
        at = 0
        for stop in STOPS:
            engine.feed(run.recording.samples.rows(at, stop))
            at = stop
            values = engine.features()
            if values.get("n_c", 0.0) < MIN_SAMPLES or "r" not in values or "i" not in values:
                continue
            rows.append(inputs(values))
            about.append((run.task, run.optimizer, run.label, math.log2(run.lr / run.best_lr), stop))
    names = ("task", "optimizer", "label", "octaves", "stop")
    columns = zip(names, zip(*about, strict=True), strict=True)
    return {"x": np.array(rows), **{name: np.array(column) for name, column in columns}}


def weights(data: dict[str, Any]) -> Any:
    """The labels of a task count alike, but examples of a rare one (fewer than 50) count no more than 1 each."""
    pairs = np.array([f"{t} {k}" for t, k in zip(data["task"], data["label"], strict=True)])
    _, places, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    return 50.0 / np.maximum(counts[places], 50)


def fit(data: dict[str, Any], keep: Any, what: str) -> Any:
    """One forest."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    sign = -1 if what == "low" else 1
    signs = [sign * SIGN.get(name, 0) for name in INPUTS]
    common = {"learning_rate": 0.08, "max_leaf_nodes": 7, "min_samples_leaf": 40, "monotonic_cst": signs}
    w = weights(data)
    if what == "octaves":
        model = HistGradientBoostingRegressor(max_iter=TREES[what], **common)
        return model.fit(data["x"][keep], np.clip(data["octaves"][keep], -7.0, 5.0), sample_weight=w[keep])
    clear = keep & (data["label"] != "grey")
    model = HistGradientBoostingClassifier(max_iter=TREES[what], **common)
    return model.fit(data["x"][clear], data["label"][clear] == f"too_{what}", sample_weight=w[clear])


def exported(model: Any) -> dict[str, Any]:
    """A forest as plain numbers."""
    trees, depth = [], 0
    for (predictor,) in model._predictors:
        nodes = predictor.nodes
        depth = max(depth, int(nodes["depth"].max()))
        trees.append(
            [
                [-1, 0.0, 1, 0, 0, round(float(n["value"]), 6)]
                if n["is_leaf"]
                else [
                    int(n["feature_idx"]),
                    float(n["num_threshold"]),
                    int(n["missing_go_to_left"]),
                    int(n["left"]),
                    int(n["right"]),
                    0.0,
                ]
                for n in nodes
            ]
        )
    return {"base": float(np.ravel(model._baseline_prediction)[0]), "depth": depth, "trees": trees}


def check(data: dict[str, Any]) -> None:
    """What is left of it on tasks, and on optimizers, that it has not seen."""
    for by in ("task", "optimizer"):
        p = {what: np.full(len(data["x"]), np.nan) for what in TREES}
        for name in np.unique(data[by]):
            out = data[by] == name
            for what in TREES:
                model = fit(data, ~out, what)
                x = data["x"][out]
                p[what][out] = model.predict(x) if what == "octaves" else model.predict_proba(x)[:, 1]
        near = (data["label"] == "ok") & (np.abs(data["octaves"]) <= 1.0)
        for stop in (150, 250, 400):
            at = data["stop"] == stop
            for what, threshold in (("low", 0.8), ("low", 0.9), ("high", 0.6), ("high", 0.75)):
                other = "too_high" if what == "low" else "too_low"
                rates = {
                    k: (p[what][at & m] > threshold).mean()
                    for k, m in (
                        ("recall", data["label"] == f"too_{what}"),
                        ("ok", data["label"] == "ok"),
                        ("near", near),
                        ("other", data["label"] == other),
                    )
                }
                print(
                    f"without its {by}, step {stop}, {what} > {threshold}:", {k: round(v, 3) for k, v in rates.items()}
                )
            error = np.abs(p["octaves"] - data["octaves"])[at]
            print(f"without its {by}, step {stop}: within a factor 4 of the best", round((error <= 2.0).mean(), 3))


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
