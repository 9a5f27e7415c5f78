"""Runs every benchmark and writes docs/benchmarks.md.

`make bench`, or `python -m benchmarks [--quick] [--only NAME]`. A part that fails is named on the page and at the end,
keeps what was measured of it before, and leaves the others alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.page import SECTIONS, page

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
RESULTS = HERE / "results.json"


class PartFailedError(Exception):
    """One benchmark has no figures to give; says which, and why."""


def say(sentence: str) -> None:
    """Progress goes to stderr: a bench takes half an hour."""
    print(f"{time.strftime('%H:%M:%S')}  {sentence}", file=sys.stderr, flush=True)


def run(script: str, *arguments: str, codes: Sequence[int] = (0,)) -> list[Any]:
    """The JSON values that a script printed, a line each.

    Raises:
        PartFailedError: it ended with another exit code than these, or printed none.
    """
    command = [sys.executable, *script.split(), *arguments]
    say(" ".join(command[1:]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    last = ""
    with tempfile.TemporaryFile("w+") as output:
        with subprocess.Popen(
            command, cwd=HERE.parent, stdout=output, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                sys.stderr.write(line)
                last = line.strip() or last
        output.seek(0)
        found = [json.loads(line) for line in output if line.startswith(("{", "["))]
    if process.returncode not in codes or not found:
        raise PartFailedError(f"{script} ended with exit code {process.returncode}: {last or 'it said nothing'}")
    return found


def probe(quick: bool) -> dict[str, Any]:
    """What a step costs more, and what trackers cost."""
    (reports,) = run("-m benchmarks.probe_overhead", "--json", *(["--blocks", "3"] if quick else []))
    return {"reports": reports}


def fixed(quick: bool) -> dict[str, Any]:
    """What the probe's own code costs."""
    (report,) = run("-m benchmarks.probe_fixed", "--json", *(["--blocks", "3"] if quick else []))
    return {"report": report}


def waits(quick: bool) -> dict[str, Any]:
    """What makes a host wait. Exit code 1 is a figure too: the page says where."""
    (report,) = run("-m benchmarks.probe_waits", "--json", *(["--only", "plain"] if quick else []), codes=(0, 1))
    return {"report": report}


def identical(quick: bool) -> dict[str, Any]:
    """Weights, over all optimizers."""
    (report,) = run("-m benchmarks.probe_identical", "--json", *(["--only", "SGD"] if quick else []), codes=(0, 1))
    return {"report": report}


def attach(quick: bool) -> dict[str, Any]:
    """Into a job that runs, and out of it."""
    (report,) = run("benchmarks/attach.py", "--json", *(["--rounds", "2"] if quick else []))
    return {"report": report}


def leak(quick: bool) -> dict[str, Any]:
    """What grows over a million steps, and over fewer where the agent is dead and where there is no probe."""
    reports = []
    for steps, *words in (("1000000",), ("300000", "--agent", "dead"), ("300000", "--bare")):
        few = "2000" if quick else steps
        (report,) = run("-m benchmarks.probe_leak", "--json", "--steps", few, *words, codes=(0, 1))
        reports.append(report)
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


BENCHES: dict[str, Callable[[bool], dict[str, Any]]] = {
    "probe": probe,
    "fixed": fixed,
    "waits": waits,
    "identical": identical,
    "attach": attach,
    "leak": leak,
    "ingest": ingest,
    "demo": demo,
}
assert list(BENCHES) == list(SECTIONS)


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


def measure(name: str, quick: bool, before: dict[str, Any] | None) -> dict[str, Any]:
    """One part; what there was before with a word about it where it failed."""
    today = time.strftime("%Y-%m-%d")
    try:
        found = BENCHES[name](quick)
        return {"when": today, "machine": machine(), **found}
    except (PartFailedError, ValueError, KeyError, OSError) as error:
        say(f"{name} FAILED: {error}")
        return {**(before or {}), "failed": {"when": today, "reason": str(error)}}


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
    names = options.only or list(BENCHES)
    for number, name in enumerate(names, 1):
        say(f"{name}, {number} of {len(names)}")
        results[name] = measure(name, options.quick, results.get(name))
        if not options.quick:
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            PAGE.write_text(page(results))
    if options.quick:
        print(page(results))
    failed = [name for name in names if "failed" in results[name]]
    for report in results["probe"].get("reports", []) if "probe" in names else []:
        for tracker, figures in report["trackers"].items():
            if "error" in figures:
                say(f"{tracker} FAILED on the {report['case']} loop: {figures['error']}")
                failed += ["probe"] if "probe" not in failed else []
    if failed:
        say(f"failed: {', '.join(failed)} (one alone: make bench ARGS='--only {failed[0]}')")
        sys.exit(1)


if __name__ == "__main__":
    main()
