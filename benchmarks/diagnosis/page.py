"""The measured part of docs/diagnosis.md, from what was measured: one function a section."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from steersman.rules.effects import KINDS

Entry = dict[str, Any]
HALVES = ("tuning", "held out")
START = "<!-- measured: written by `make bench-diagnosis` -->"
END = "<!-- end of what was measured -->"


def section(results: Entry) -> str:
    """Everything between the two marks of docs/diagnosis.md."""
    lines = [
        START,
        "",
        "## What was measured",
        "",
        f"Written by `make bench-diagnosis` ({results.get('when', '')}, {results.get('machine', '')}); nothing in "
        "this part was typed in. It trains small jobs whose truth is known by what they end in, feeds their rows to "
        "the engine that watches live jobs, and to others' published formulas in our own code. Thresholds are tuned "
        "on the tuning half and the school alone: the held-out half has tasks (a residual net with layer norms, an "
        "autoencoder) and optimizers (Adagrad, Adadelta, AdamW with beta2 .95) that no rule was tuned on. Shares "
        "have exact (Clopper-Pearson) 95 % intervals; runs of one task and optimizer resemble each other, so that "
        "where it says *clusters* the interval draws whole pairs of task and optimizer anew, and is the one to "
        "believe.",
        "",
    ]
    for name, (title, write) in SECTIONS.items():
        entry = results.get(name)
        lines += [f"### {title}", ""]
        if entry is None:
            lines += [f"Not measured yet: `make bench-diagnosis ARGS='--only {name}'`.", ""]
            continue
        if "failed" in entry:
            lines += [f"**Failed: {entry['failed']}**", ""]
        try:
            lines += [*write(entry), ""]
        except (KeyError, TypeError, IndexError) as error:
            lines += [f"What was kept of it has another shape ({error!r}): measure it anew.", ""]
    lines += [*NOT_CLAIMED, "", END]
    return "\n".join(lines)


def into(page: str, part: str) -> str:
    """The page with that part in place of the one it had, or at its end."""
    if START in page and END in page:
        return page[: page.index(START)] + part + page[page.index(END) + len(END) :]
    return page.rstrip() + "\n\n" + part + "\n"


def pct(f: Entry | None, clusters: bool = True) -> str:
    """A share with its counts and intervals in one cell."""
    if f is None or not f.get("n"):
        return "-"
    low, high = f["exact"]
    text = f"{f['share']:.1%} ({f['k']}/{f['n']}; {low:.1%} to {high:.1%}"
    if clusters and "clusters" in f:
        text += f"; clusters {f['clusters'][0]:.1%} to {f['clusters'][1]:.1%}"
    return text + ")"


def _head(*columns: str) -> list[str]:
    """The first two lines of a table."""
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def _rate(f: Entry) -> str:
    low, high = f["exact"]
    return f"{f['rate']:.3f} ({f['k']} in {f['steps']:,}; {low:.3f} to {high:.3f})"


def _targets(entry: Entry) -> list[str]:
    lines = [
        "Aims are those that were set before anything was tuned. A figure that misses its aim is printed all the same.",
        "",
        *_head("what", "aim", "tuning half", "held-out half"),
    ]
    return lines + [f"| {row['what']} | {row['aim']} | {row['tuning']} | {row['held out']} |" for row in entry["rows"]]


def _corpus(entry: Entry) -> list[str]:
    if "left out" in entry:
        return [f"Left out: {entry['left out']}."]
    lines = [
        f"{entry['runs']} published logs with loss, norm and learning rate alone, labelled by hand: {entry['found']} "
        f"of {entry['faults']} faults found, {entry['false_alarms']} of {entry['healthy']} healthy runs called "
        f"faulty, {entry['healthy_with_critical_finding']} of them with a critical finding.",
        "",
        *_head("label", "found"),
    ]
    return lines + [f"| {label} | {share} |" for label, share in entry["recall_by_label"].items()]


def _sweep(entry: Entry) -> list[str]:
    lines = [
        "Every task with every optimizer at 14 learning rates a factor of two apart, up to three seeds, 1,000 steps: "
        "2 % warm-up, constant, linear decay over the last fifth. A run is *fine* where it ends within 0.05 nats of "
        "the best of its pair, and its learning rate is *wrong* where it ends more than 0.2 nats above; between the "
        "two it counts as neither. Losses below 1 % of the first count as 1 %.",
        "",
    ]
    for half in HALVES:
        if half not in entry:
            continue
        d = entry[half]["directions"]
        counts = ", ".join(f"{n} {label.replace('_', ' ')}" for label, n in entry[half]["runs"].items())
        lines += [
            f"**{half.capitalize()} half** ({counts}). Said by a quarter of the run:",
            "",
            *_head("said", "by", "too low", "fine", "within 2x of the best", "too high"),
        ]
        for verdict in ("lr_too_low", "lr_too_high"):
            for way in ("diagnosis", "rules"):
                f = d[verdict][way]
                cells = [pct(f.get(c)) for c in ("low", "ok", "near", "high")]
                lines.append(f"| {verdict} | {way} | {' | '.join(cells)} |")
        lines += [
            "",
            f"By the end of the run: too low {pct(d['lr_too_low']['by the end'])}, too high "
            f"{pct(d['lr_too_high']['by the end'])}. Too high by a quarter, runs called diverged or not a number "
            f"included: {pct(d['lr_too_high']['or broken'])}.",
            "",
            f"![said over the distance from the best](images/diagnosis-{half.replace(' ', '-')}.svg)",
            "",
            *_head("task or optimizer", "too low found", "too high found"),
        ]
        low, high = d["lr_too_low"]["by task"], d["lr_too_high"]["by task"]
        for name in dict.fromkeys([*low, *high]):
            a, b = low.get(name, (0, 0)), high.get(name, (0, 0))
            lines.append(f"| {name} | {a[0]}/{a[1]} | {b[0]}/{b[1]} |")
        lines.append("")
    return lines


def _exam(entry: Entry) -> list[str]:
    lines = [
        "Six tasks from which nothing was learned, with eleven optimizers, eight of which were learned from, and four "
        "schedules: that of the sweep (*wsd*), a cosine to a tenth, a straight line to zero after a tenth of warm-up, "
        "and the inverse square root of the steps. X1 to X4 had been run once with an earlier judgement; that it "
        "found half of what was too high in the tumours, which are solved, is why the school now has tasks that are "
        "solved. X5 and X6 were not run before all was settled. "
        + "; ".join(f"{name}: {words}" for name, words in entry["tasks"].items() if name.startswith("X"))
        + ". The judgement learns from the tuning half and from a school of other tasks under the same schedules. "
        + "; ".join(f"{name}: {words}" for name, words in entry["tasks"].items() if name.startswith("S"))
        + ". Said by a quarter of the run:",
        "",
        *_head(
            "what", "too low found", "too low of fine", "too low of too high", "too high found",
            "too high within 2x of the best", "too high of too low", "recommended within x4", "abstains",
        ),
    ]  # fmt: skip
    for name, row in entry["rows"].items():
        low, high = row["lr_too_low"], row["lr_too_high"]
        cells = [low["low"], low["ok"], low["high"], high["high"], high["near"], high["low"]]
        cells += [row["within x4"], row["abstains"]]
        lines.append(f"| {name} | {' | '.join(pct(cell, clusters=name == 'the exam') for cell in cells)} |")
    return lines


NEARER = "nearer than the run's own"


def _recommended(entry: Entry) -> list[str]:
    lines = [
        "Of runs whose learning rate is wrong, the value recommended by a quarter of the run, against the middle of "
        "the learning rates that end within 0.01 nats of the best.",
        "",
        *_head(
            "half", "within x4", "of runs too low", "of runs too high", "abstains", "interval holds the best", NEARER
        ),
    ]
    for half in HALVES:
        if half in entry:
            r = entry[half]["recommended"]
            lines.append(
                f"| {half} | {pct(r['within x4'])} | {pct(r['by side']['too_low'])} | {pct(r['by side']['too_high'])} "
                f"| {pct(r['abstains'])} | {pct(r['interval holds the best'])} | {pct(r[NEARER])} |"
            )
    return lines


def _calibration(entry: Entry) -> list[str]:
    lines = [
        "How often *healthy*, *too low* and *too high* are right at a quarter of the run, by the confidence stated. "
        "*Too low* is right where the run ends more than 0.05 nats above the best at a rate below it; *healthy* "
        "where it ends within 0.2 nats of it. The mix of runs is the sweep's, in which most learning rates are "
        "wrong: do not read these as the odds in your own jobs.",
        "",
        "![stated confidence and how often it was right](images/diagnosis-calibration.svg)",
        "",
        *_head("half", "confidence from", "right"),
    ]
    for half in HALVES:
        for row in entry.get(half, {}).get("calibration", []):
            lines.append(f"| {half} | {row['from']:.1f} | {pct(row)} |")
    return lines


def _plateau(entry: Entry) -> list[str]:
    lines = [
        "Before the planned decay. *Improving*: the mean log-loss fell by more than 0.05 from the second quarter of "
        "the run to the third; *flat*: it moved by less than 0.01.",
        "",
        *_head("who", "tuning: improving, flagged", "flat, caught", "held out: improving, flagged", "flat, caught"),
    ]
    for name in entry[next(h for h in HALVES if h in entry)]["plateau"]:
        cells = [pct(entry[h]["plateau"][name][c]) for h in HALVES if h in entry for c in ("improving", "flat")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _faults(entry: Entry) -> list[str]:
    lines = [
        "Faults are put into jobs that run at half of their best learning rate, each beside a twin that saw the same "
        "batches. A fault counts only where it had an effect. A *spike* rose by more than 3 sd of the twin's noise "
        "and 0.05 nats, and is found within 10 steps; *lasting* harm stands 1.5 sd above the twin on average over 50 "
        "steps, and is found within 100. False alarms are counted on runs that end fine and on the twins.",
        "",
    ]
    for half in HALVES:
        if half not in entry:
            continue
        lines += [
            f"**{half.capitalize()} half.**",
            "",
            *_head(
                "who",
                "spikes found",
                "delay",
                "lasting harm found",
                "delay, median (90 %)",
                "false alarms per 1,000 steps",
            ),
        ]
        for name, f in entry[half]["table"].items():
            s, t = f["spike"], f["sustained"]
            lines.append(
                f"| {name} | {pct(s)} | {_delay(s)} | {pct(t)} | {_delay(t)} ({_delay(t, 'delay 90 %')}) | "
                f"{_rate(f['false'])} |"
            )
        lines += [
            "",
            *_head("fault", "tried", "had an effect", "a rule fired in time", "diagnosis 100 steps later"),
        ]
        for f in entry[half]["by fault"].values():
            said = ", ".join(f"{n} {v}" for v, n in list(f["diagnosis after 100 steps"].items())[:4])
            lines.append(f"| {f['words']} | {f['tried']} | {f['struck']} | {pct(f['found'])} | {said or '-'} |")
        lines += [
            "",
            "Runs that are well and look as if they were not; a finding of warning or louder in these shares. The "
            "labels know nothing of validation, and several of these jobs do overfit: count `overfitting` apart.",
            "",
            *_head("run", "share", "rules"),
        ]
        for name, f in entry[half]["hard"].items():
            rules = ", ".join(f"{r} ({n})" for r, n in sorted(f["rules"].items(), key=lambda item: (-item[1], item[0])))
            lines.append(f"| {name} | {pct(f)} | {rules or '-'} |")
        lines += [
            "",
            f"A finding of warning or louder on a plain healthy run: {pct(entry[half]['loud on healthy'])}.",
            "",
        ]
    return lines


def _delay(f: Entry, name: str = "delay") -> str:
    return "-" if f.get(name) is None else f"{f[name]:.0f}"


def _closed(f: Entry) -> str:
    if f["closed"] is None:
        return "-"
    return f"{f['closed']:.0%} (clusters {f['clusters'][0]:.0%} to {f['clusters'][1]:.0%})"


CAP = "closed, capped at 1 nat"


def _counterfactual(entry: Entry) -> list[str]:
    lines = [
        "Jobs at 1/32, 1/8, 1/2, 1, 2 and 8 times their best learning rate, new seeds. Every branch runs to the end "
        "of the schedule on the same batches. *Regret closed* is the share of the mean excess over the best learning "
        "rate's end that goes, each regret held between 0 and 1 nat because a few runs that break would decide it "
        "all. Helped and harmed mean by more than 0.05 nats at the end against doing nothing. Steersman acts as the "
        "daemon does under the policy *auto* with its default limits, without its probation; *wide limits* are those "
        "of an owner who allows a total factor within 1/64 and 64 and six adjustments, 100 steps apart. *Once, in "
        "hindsight* is one action at the alarm, or at the random step of a job without one: whichever of x 1/16, "
        "x 1/4, x 1/2, nothing, x 2, x 4 and x 16 ended best. What a job has lost by then no factor gives back.",
        "",
    ]
    for name, words in (("pairs", "pairs of task and optimizer"), ("seeds", "seeds")):
        if name in entry and entry[name][0] < entry[name][1]:
            lines += [f"**In part: {entry[name][0]} of {entry[name][1]} {words}.**", ""]
    for half in (*HALVES, "held-out tasks"):
        if half not in entry:
            continue
        e = entry[half]
        lines += [
            f"**{half.capitalize()}** ({e['states']} jobs): a policy from the first step on.",
            "",
            *_head(
                "policy", "regret closed", "the same, capped at 5 nats", "helped", "harmed", "harmed, of healthy runs"
            ),
        ]
        for name, f in e["policies"].items():
            if name == "nothing":
                continue
            lines.append(
                f"| {name} | {_closed(f[CAP])} | {_closed(f['closed, capped at 5'])} | {pct(f['helped'])} | "
                f"{pct(f['harmed'])} | {pct(f['harmed, healthy runs'])} |"
            )
        f = e["hindsight"]
        shares = f"{_closed(f[CAP])} | {_closed(f['closed, capped at 5'])} | {pct(f['helped'])}"
        lines.append(f"| *once, in hindsight* | {shares} | - | - |")
        s = e["policies"]["Steersman"]
        lines += [
            "",
            f"Steersman acted on {pct(s['acted'])} of them, on {pct(s['acted, healthy runs'])} of the healthy ones; "
            f"of runs it acted on it harmed {pct(s['harmed, runs acted on'])}.",
            "",
        ]
        for where, b in e.get("branches", {}).items():
            lines += [
                f"Branches {where} ({b['n']} jobs):",
                "",
                *_head("branch", "helped", "harmed", "regret closed"),
            ]
            for name, f in b["branches"].items():
                # Healthy runs have next to no regret that could be closed.
                closed = "-" if "healthy" in where else _closed(f[CAP])
                lines.append(f"| {name} | {pct(f['helped'])} | {pct(f['harmed'])} | {closed} |")
            lines.append("")
        if "stops" in e:
            stop = e["stops"]
            saved, whole = list(stop.values())[:2]
            lines += [
                f"Had the job been stopped at the alarm: {saved:,} of {whole:,} steps saved in runs that end 1.5 "
                f"times above the best, and {pct(stop['winners stopped'])} of healthy runs stopped.",
                "",
            ]
    return lines + _effects(entry["effects"]) if "effects" in entry else lines


def _effects(entry: Entry) -> list[str]:
    lines = [
        "What a prescription is told to bring is this, by the tuning half: the logarithm of the end loss over that of "
        "the same job left alone, median and 90 % interval, wider by 0.05 nats on both sides, below which a difference "
        "is not counted here. Held-out jobs were not looked at; how many of them end within it is beside it.",
        "",
        *_head("first prescription", "jobs", "expected, nats", "90 %", "held out, nats", "held out, within"),
    ]
    for name, e in entry.items():
        others = "-" if e["held out"] is None else f"{e['held out']:+.2f}"
        between = f"{e['low']:+.2f} to {e['high']:+.2f}"
        within = pct(e["within"])
        lines.append(f"| {name}: {KINDS[name]} | {e['jobs']} | {e['nats']:+.2f} | {between} | {others} | {within} |")
    return [*lines, ""]


def _cost(entry: Entry) -> list[str]:
    return [
        f"{entry['us_a_row']:.1f} µs of processor time a row (median of {entry['runs']} runs, least "
        f"{entry['least']:.1f}), {entry['rules']} rules, batches of {entry['rows']} rows. The aim is 20."
    ]


NOT_CLAIMED = [
    "### What is not claimed",
    "",
    "- The jobs are tiny and run 1,000 steps; nothing here says how rules do on a model of a billion weights. All "
    "say how many steps they mean to take, and 1,000 is also the horizon that the rules assume where nobody says.",
    "- Labels come from the training loss at the end of one schedule. A rate that trains faster may generalise worse.",
    "- The sweep's mix of learning rates is not that of your jobs: shares within a class carry over, precision does "
    "not.",
    "- Peers are our own reading of published formulas and defaults, called at each step or evaluation. ZClip clips "
    "and was never meant as an alarm; ReduceLROnPlateau and GreedyLR know nothing but a loss, and need nothing but a "
    "loss.",
    "- GreedyLR is given the daemon's bounds, 1/16 and 16 of the job's rate, in place of its own, 1e-3 and 1, which "
    "have nothing to do with these tasks. Lightning's finder is run from where the job stands, from 1e-8 to 1 as it "
    "comes, and its hundred steps are not charged to it; it can't name the rates above 1 that some of these tasks "
    "need. ADWIN tries every cut instead of river's buckets.",
    "- A random step is drawn from those at which the daemon first acted on jobs of the same pair, with that factor "
    "for the placebo; where it acted on none, it is step 250 and x 2. The transformer runs at 1/16, 1/2, 1 and 4 "
    "times its best.",
    "- Stopping always loses here, since a job that is stopped gets no decay: what it is for is the steps it saves.",
    "- Not tried: reinforcement learning, mixtures of experts, contrastive losses, fine-tuning, emulated loss "
    "scaling, forgotten `zero_grad`, frozen layers, and a batch size that changes.",
]
SECTIONS: dict[str, tuple[str, Callable[[Entry], list[str]]]] = {
    "targets": ("Aims and what was reached", _targets),
    "corpus": ("Published logs", _corpus),
    "sweep": ("Learning rates too low and too high", _sweep),
    "exam": ("An exam", _exam),
    "recommended": ("The recommended learning rate", _recommended),
    "calibration": ("Stated confidence", _calibration),
    "plateau": ("Plateaus", _plateau),
    "faults": ("Spikes, lasting harm and false alarms", _faults),
    "counterfactual": ("What acting brings, and what it costs", _counterfactual),
    "cost": ("What it costs the daemon", _cost),
}
