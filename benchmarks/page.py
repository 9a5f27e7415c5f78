"""docs/benchmarks.md, from what was measured: one function a section."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from typing import Any

Entry = dict[str, Any]


def page(results: dict[str, Entry]) -> str:
    """The whole page; a part that failed says so, and keeps what was measured of it before."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; nothing here was typed in. The machine is small and shared: read ratios and medians. "
        "`steersman bench probe` measures the first table on your own machine.",
        "",
    ]
    for name, (title, section) in SECTIONS.items():
        entry = results.get(name)
        lines += [f"## {title}", ""]
        if entry is None:
            lines += [f"Not measured yet: `make bench ARGS='--only {name}'`.", ""]
            continue
        if "failed" in entry:
            failed = entry["failed"]
            lines += [f"**Failed on {failed['when']}: {failed['reason']}**", ""]
        if "when" in entry:
            try:
                lines += section(entry)
            except (KeyError, TypeError, IndexError) as error:
                lines += [f"What was kept of it has another shape ({error!r}): measure it anew."]
            lines.append("")
    return "\n".join(lines)


def _probe(entry: Entry) -> list[str]:
    lines = [
        f"`python -m benchmarks.probe_overhead`, {_where(entry)}. Blocks of the bare loop and of each way to watch it "
        "alternate in one process, one thread; differences are taken pair by pair, and the patch on `backward` is "
        "timed by itself. Every row and every norm was delivered, else there would be no figure. Trackers are given "
        "the same three scalars of every step, each beside a bare loop of its own; the last column says how many "
        "times the probe's cost that is. *As it ships* is the probe within its budget (the larger of 0.5 % of the "
        "median step and 100 µs), which takes norm and direction less often where they cost more; where there is no "
        "such line it thins nothing.",
        "",
        "| loop | bare step, ms (10 % quantile) | way | added, µs (median) | quartiles of pairs, µs "
        "| added at the 10 % quantile, µs | added, % | quartiles of pairs, % | times the probe |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for report in entry["reports"]:
        start = f"| {report['case']} | {report['step_ms']:.2f} ({report['step_low_ms']:.2f}) "
        whole = report["whole"]
        ways = {
            "probe, row without norm": report.get("without_norm"),
            "probe, all": whole,
            "probe, as it ships: " + _thinned(report): report.get("kept"),
            "the patch on `backward` alone": report.get("backward"),
            **report["trackers"],
        }
        for way, f in ways.items():
            if f is None:
                continue
            if "error" in f:
                lines.append(f"{start}| {way} | failed: {f['error'].replace('|', '/')} | | | | | |")
                continue
            (first, third), (low, high) = f["quartiles_us"], f["quartiles_percent"]
            times = f"{f['us'] / whole['us']:.1f}" if whole["us"] > 0 else "-"
            lines.append(
                f"{start}| {way} | {f['us']:.0f} | {first:.0f} to {third:.0f} | {f['low_us']:.0f} "
                f"| {f['percent']:.2f} | {low:.2f} to {high:.2f} | {times} |"
            )
    equal = "equal to the last bit" if all(r["bit_identical"] for r in entry["reports"]) else "NOT EQUAL"
    counted = [r["waits"] for r in entry["reports"] if "waits" in r]
    lines += [
        "",
        "The aim is at most 60 µs on a step of about 1 ms and at most 0.5 % on one of 10 ms or more; a figure above it "
        "says that it is not reached yet.",
        "",
        f"Final weights with the probe observing and without it, same seed: {equal}.",
    ]
    if counted:
        added = sum(sum(waits.values()) for waits in counted)
        lines.append(f"Synchronising operations added in 40 steps of each: {added}.")
    return lines


def _thinned(report: Entry) -> str:
    rows = report.get("rows_every", 1)
    return f"norm every {report.get('norm_every', 1)} steps" + (f", rows every {rows}" if rows > 1 else "")


def _fixed(entry: Entry) -> list[str]:
    f = entry["report"]
    return [
        f"`python -m benchmarks.probe_fixed`, {_where(entry)}. A backward and an optimizer that do nothing, so that "
        "the probe's code is warm and alone: a real loop, above, pays two to four times as much for the same.",
        "",
        "| part | µs (median) | least |",
        "|---|---|---|",
        f"| a row, from backward to the agent's memory, a step | {f['step_us']:.1f} | {f['step_least_us']:.1f} |",
        f"| the patch on `backward`, a call | {f['backward_us']:.1f} | {f['backward_least_us']:.1f} |",
        f"| norm and direction besides, a step | {f['norm_us']:.1f} | {f['norm_least_us']:.1f} |",
    ]


def _waits(entry: Entry) -> list[str]:
    report = entry["report"]
    loops, optimizers = report["loops"], report["optimizers"]
    every = [added for one in loops for added in one["added"].values()] + [one["added"] for one in optimizers]
    bad = sum(bool(added) for added in every)
    ways = list(loops[0]["added"])
    lines = [
        f"`python -m benchmarks.probe_waits`, {_where(entry)}. Dispatches of `aten::_local_scalar_dense` and its like, "
        f"and copies that block, in {report['rounds']} rounds of each way to train, with the probe less without it.",
        "",
        f"**{len(every)} configurations, of which {bad} add any.**",
        "",
        f"| loop | bare loop's own | {' | '.join(f'added {way}' for way in ways)} |",
        f"|---|---|{'---|' * len(ways)}",
    ]
    for one in loops:
        cells = [_sum(one["added"][way]) for way in ways]
        if not one["adjusted"]:
            cells[-1] += " (the adjustment was refused)"
        lines.append(f"| {one['loop']} | {one['bare']} | {' | '.join(cells)} |")
    added = [f"{one['optimizer']} ({_sum(one['added'])})" for one in optimizers if one["added"]]
    lines += [
        "",
        f"And observing, {len(optimizers)} optimizers and variants of torch: {', '.join(added) or '0 in all'}.",
    ]
    return lines


def _sum(added: dict[str, int]) -> str:
    """Operations that went and others that came do not cancel."""
    return str(sum(added.values())) if all(n > 0 for n in added.values()) else json.dumps(added)


def _identical(entry: Entry) -> list[str]:
    report = entry["report"]
    variants = report["variants"]
    good = sum(one["equal"] and one["watched"] for one in variants)
    lines = [
        f"`python -m benchmarks.probe_identical`, {_where(entry)}. Every class of `torch.optim` as it comes and with "
        f"each switch that it has, {report['steps']} steps with dropout, clipping, a scheduler and checkpoints; "
        "weights, the optimizer's state and the job's next random numbers are compared.",
        "",
        f"**{good} of {len(variants)} equal to the last bit.**",
        "",
        "| optimizer | equal | not equal |",
        "|---|---|---|",
    ]
    for name in dict.fromkeys(one["class"] for one in variants):
        mine = [one for one in variants if one["class"] == name]
        equal = [one["variant"] or "as it comes" for one in mine if one["equal"] and one["watched"]]
        other = [
            (one["variant"] or "as it comes") + ("" if one["watched"] else f" ({one['rows']} rows)")
            for one in mine
            if not (one["equal"] and one["watched"])
        ]
        lines.append(f"| {name} | {', '.join(equal) or '-'} | {', '.join(other) or '-'} |")
    reasons: dict[str, list[str]] = {}
    for name, words in report["refused"].items():
        reasons.setdefault(words.partition(":")[0], []).append(name)
    if reasons:
        lines += ["", "Torch itself refuses on a CPU:", ""]
        lines += [f"- {', '.join(names)} (“{words}”)" for words, names in reasons.items()]
    return lines


def _attach(entry: Entry) -> list[str]:
    f = entry["report"]
    lines = [
        f"`python benchmarks/attach.py`, {_where(entry)}. A plain loop whose usual pass takes "
        f"{f['usual pass'] * 1e3:.1f} ms, {f['rounds']} times attached to and left again, with a real daemon; beside "
        "it a second job that nobody attaches to. The very first command also starts the agent: "
        f"{f['first command']:.2f} s.",
        "",
        "| | median, ms | worst, ms |",
        "|---|---|---|",
    ]
    names = {
        "command": "the command, from call to end",
        "first sample": "from the first touch to the first sample",
        "stopped": "the job held by ptrace",
        "longest pass": "the job's longest pass meanwhile: its longest pause",
        "undisturbed": "the longest pass of the job that nobody attached to",
    }
    lines += [
        f"| {words} | {f[name]['median'] * 1e3:.1f} | {f[name]['worst'] * 1e3:.1f} |" for name, words in names.items()
    ]
    return lines


def _leak(entry: Entry) -> list[str]:
    lines = [
        f"`python -m benchmarks.probe_leak`, {_where(entry)}. A model of nine weights, with everything that the probe "
        "looks at; bytes a step are the slope of a line through resident memory after the first third.",
        "",
        "| | steps | RSS after warm-up, MB | at the end, MB | bytes a step | descriptors, at the end | |",
        "|---|---|---|---|---|---|---|",
    ]
    for f in entry["reports"]:
        way = f"probe, agent {f['agent']}" if f["probe"] else "no probe"
        lines.append(
            f"| {way} | {f['steps']} | {f['rss_after_warm_up'] / 1e6:.1f} | {f['rss_at_end'] / 1e6:.1f} "
            f"| {f['bytes_a_step_after_a_third']:+.2f} | {f['fds_after_warm_up']}, {f['fds_at_end']} "
            f"| {'flat' if f['flat'] else 'IT GROWS'} |"
        )
    return lines


def _ingest(entry: Entry) -> list[str]:
    return [
        f"`python benchmarks/daemon_ingest.py`, {_where(entry)}. A real daemon process; gRPC, checks, rules, snapshots "
        "and SQLite with its syncs are all in the figure.",
        "",
        "```",
        *(json.dumps(report) for report in entry["reports"]),
        "```",
    ]


def _demo(entry: Entry) -> list[str]:
    lines = [
        f"`steersman demo --json --lr LR --seed SEED`, {_where(entry)}. The learning rate is wrong from the first step "
        "on, so the step of the diagnosis is its delay (20 of them are the job's own warm-up). Losses are means of the "
        "last 50 steps, in nats.",
        "",
        "| LR | seed | watched: diagnosis | at step | steered: diagnosis | at step | adjusted | watched ends "
        "| steered ends | good LR ends |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in entry["reports"]:
        w, s, g = (r["runs"][name] for name in ("hot-watched", "hot-steered", "good-lr"))
        lines.append(
            f"| {r['lr']:g} | {r['seed']} | {w['headline']} | {w['diagnosed_step'] or '-'} | {s['headline']} "
            f"| {s['diagnosed_step'] or '-'} | {len(s['adjustments'])} | {_loss(w)} | {_loss(s)} | {_loss(g)} |"
        )
    delays = [
        x["diagnosed_step"]
        for r in entry["reports"]
        for n, x in r["runs"].items()
        if n != "good-lr" and r["judgement"]["expected"] == "too high" and x["diagnosed_step"]
    ]
    if delays:
        lines += ["", f"Steps to the diagnosis: median {statistics.median(delays):g}, at most {max(delays)}."]
    return lines


def _loss(outcome: dict[str, Any]) -> str:
    return "not finite" if outcome["final_loss"] is None else f"{outcome['final_loss']:.3f}"


def _where(entry: Entry) -> str:
    return f"{entry['when']}, {entry['machine']}"


SECTIONS: dict[str, tuple[str, Callable[[Entry], list[str]]]] = {
    "probe": ("What the probe adds to an optimizer step", _probe),
    "fixed": ("What the probe itself costs, apart from a job", _fixed),
    "waits": ("Synchronising operations added", _waits),
    "identical": ("Weights with the probe and without it", _identical),
    "attach": ("Attaching to a job that already runs", _attach),
    "leak": ("Memory and file descriptors", _leak),
    "ingest": ("What the daemon spends on samples", _ingest),
    "demo": ("The demo: from the first step to the diagnosis", _demo),
}
"""In the order of the page; the names are those of `--only`."""
