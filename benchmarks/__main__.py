"""Runs every benchmark and writes docs/benchmarks.md.

`make bench`, or `python -m benchmarks [--quick] [--only NAME]`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
RESULTS = HERE / "results.json"


def say(sentence: str) -> None:
    """Progress goes to stderr: a bench takes a quarter of an hour."""
    print(f"{time.strftime('%H:%M:%S')}  {sentence}", file=sys.stderr, flush=True)


def run(script: str, *arguments: str, codes: Sequence[int] = (0,)) -> list[Any]:
    """The JSON values that a script printed, a line each."""
    command = [sys.executable, *script.split(), *arguments]
    say(" ".join(command[1:]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode not in codes:
        raise SystemExit(f"{script} ended with exit code {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]


def probe(quick: bool) -> dict[str, Any]:
    """What a step costs more."""
    (reports,) = run("benchmarks/probe_overhead.py", "--json", *(["--blocks", "5"] if quick else []))
    return {"reports": reports}


def ingest(quick: bool) -> dict[str, Any]:
    """What the daemon spends on samples."""
    return {
        "reports": run("benchmarks/daemon_ingest.py", "--json", *(["--rows", "5120", "--repeat", "1"] if quick else []))
    }


def demo(quick: bool) -> dict[str, Any]:
    """From the first step to the diagnosis, and what the cut brings; and that a good LR is left alone."""
    cases = [("0.1", "1")] if quick else [("0.05", "1"), ("0.1", "1"), ("0.1", "2"), ("0.3", "1"), ("0.003", "3")]
    found = []
    for lr, seed in cases:
        (result,) = run("-m steersman.cli", "demo", "--json", "--lr", lr, "--seed", seed, codes=(0, 1))
        found.append(result)
    return {"reports": found}


BENCHES: dict[str, Callable[[bool], dict[str, Any]]] = {"probe": probe, "ingest": ingest, "demo": demo}


def machine() -> str:
    """What it ran on, in one line."""
    model = next(
        (row.split(":")[1].strip() for row in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in row),
        platform.processor(),
    )
    import torch

    return (
        f"{os.cpu_count()} cores ({model}), Linux {platform.release()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, load {os.getloadavg()[1]:.1f}"
    )


def loss(outcome: dict[str, Any]) -> str:
    """A final loss in words."""
    return "not finite" if outcome["final_loss"] is None else f"{outcome['final_loss']:.3f}"


def page(results: dict[str, Any]) -> str:
    """docs/benchmarks.md, from what was measured."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; nothing here was typed in. The machine is small and shared: read ratios and medians.",
        "",
    ]
    if "probe" in results:
        entry = results["probe"]
        lines += [
            "## What the probe adds to an optimizer step",
            "",
            f"`python benchmarks/probe_overhead.py`, {entry['when']}, {entry['machine']}. Blocks of the bare loop and "
            "of each way to watch it alternate in one process, one thread; differences are taken pair by pair. Every "
            "row and every norm was delivered, else there would be no figure.",
            "",
            "| loop | bare step, ms (10 % quantile) | way | added, µs (median) | quartiles of pairs, µs "
            "| added at the 10 % quantile, µs | step ratio (median) |",
            "|---|---|---|---|---|---|---|",
        ]
        for report in entry["reports"]:
            for way, f in report["ways"].items():
                low, high = f["pairs_quartiles_us"]
                lines.append(
                    f"| {report['case']} | {report['bare_ms']:.2f} ({report['bare_low_ms']:.2f}) | {way} "
                    f"| {f['added_us']:.0f} | {low:.0f} to {high:.0f} | {f['added_low_us']:.0f} | {f['ratio']:.3f} |"
                )
        word = "equal to the last bit" if all(r["bit_identical"] for r in entry["reports"]) else "NOT EQUAL"
        aim = "The aim is at most 60 µs on a step of about 1 ms and at most 1 % on one of about 20 ms"
        lines += ["", f"{aim}; a figure above it says that it is not reached yet."]
        lines += ["", f"Final weights with the probe observing and without it, same seed: {word}."]
        lines.append("")
    if "ingest" in results:
        entry = results["ingest"]
        lines += [
            "## What the daemon spends on samples",
            "",
            f"`python benchmarks/daemon_ingest.py`, {entry['when']}, {entry['machine']}. A real daemon process; gRPC, "
            "checks, rules, snapshots and SQLite with its syncs are all in the figure.",
            "",
            "```",
            *(json.dumps(report) for report in entry["reports"]),
            "```",
            "",
        ]
    if "demo" in results:
        entry = results["demo"]
        lines += [
            "## The demo: from the first step to the diagnosis",
            "",
            f"`steersman demo --json --lr LR --seed SEED`, {entry['when']}, {entry['machine']}. The learning rate is "
            "wrong from the first step on, so the step of the diagnosis is its delay (20 of them are the job's own "
            "warm-up). Losses are means of the last 50 steps, in nats.",
            "",
            "| LR | seed | watched: diagnosis | at step | steered: diagnosis | at step | adjusted | watched ends "
            "| steered ends | good LR ends |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for r in entry["reports"]:
            w, s, g = (r["runs"][name] for name in ("hot-watched", "hot-steered", "good-lr"))
            lines.append(
                f"| {r['lr']:g} | {r['seed']} | {w['headline']} | {w['diagnosed_step'] or '-'} | {s['headline']} "
                f"| {s['diagnosed_step'] or '-'} | {len(s['adjustments'])} | {loss(w)} | {loss(s)} | {loss(g)} |"
            )
        delays = [
            x["diagnosed_step"]
            for r in entry["reports"]
            for n, x in r["runs"].items()
            if n != "good-lr" and r["judgement"]["expected"] == "too high" and x["diagnosed_step"]
        ]
        if delays:
            lines += ["", f"Steps to the diagnosis: median {statistics.median(delays):g}, at most {max(delays)}."]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measure what is asked for, keep what was measured before of the rest, and write the page."""
    parser = argparse.ArgumentParser(
        description="Measure what Steersman costs and brings, and write docs/benchmarks.md."
    )
    parser.add_argument("--only", choices=list(BENCHES), action="append", help="may be given more than once")
    parser.add_argument("--write", action="store_true", help="only write the page anew from what was measured last")
    parser.add_argument("--quick", action="store_true", help="a short look; does not touch docs/benchmarks.md")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() and not options.quick else {}
    if options.write:
        PAGE.write_text(page(results))
        return
    for name in options.only or BENCHES:
        found = BENCHES[name](options.quick)
        results[name] = {"when": time.strftime("%Y-%m-%d"), "machine": machine(), **found}
        if not options.quick:
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            PAGE.write_text(page(results))
    if options.quick:
        print(page(results))


if __name__ == "__main__":
    main()
