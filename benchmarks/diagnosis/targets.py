"""What was aimed at, and what was reached: the table at the head of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.diagnosis.page import CAP, HALVES, pct

Entry = dict[str, Any]
Figure = Callable[[Entry, str], str]


def _table(results: Entry, half: str, who: str = "Steersman") -> Entry:
    found: Entry = results["faults"][half]["table"][who]
    return found


def _spike(results: Entry, half: str) -> str:
    found, alone = _table(results, half), _table(results, half, "Steersman, rules for spikes alone")
    return f"{pct(found['spike'])}; {alone['false']['rate']:.3f}, all rules {found['false']['rate']:.3f}"


def _lasting(results: Entry, half: str) -> str:
    f = _table(results, half)["sustained"]
    return f"{pct(f)}; {f['delay']:.0f}" if f["delay"] is not None else pct(f)


def _direction(verdict: str, *classes: str) -> Figure:
    def figure(results: Entry, half: str) -> str:
        f = results["sweep"][half]["directions"][verdict]["diagnosis"]
        return "; ".join(pct(f[c], clusters=False) for c in classes)

    return figure


def _plateau(results: Entry, half: str) -> str:
    f = results["sweep"][half]["plateau"]["Steersman, a plateau rule"]
    return f"{pct(f['improving'], clusters=False)}; {pct(f['flat'], clusters=False)}"


def _recommended(results: Entry, half: str) -> str:
    f = results["sweep"][half]["recommended"]
    return f"{pct(f['within x4'], clusters=False)}; {pct(f['abstains'], clusters=False)}"


def _closed(results: Entry, half: str) -> str:
    policies = results["counterfactual"][half]["policies"]
    others = {
        n: f[CAP]["closed"] or 0.0 for n, f in policies.items() if n != "nothing" and not n.startswith("Steersman")
    }
    best = max(others, key=lambda n: others[n])
    f = policies["Steersman"][CAP]
    low, high = f["clusters"]
    most = results["counterfactual"][half]["hindsight"][CAP]["closed"]
    return (
        f"{f['closed']:.0%} (clusters {low:.0%} to {high:.0%}); best other {best}, {others[best]:.0%}; "
        f"in hindsight, once, {most:.0%}"
    )


def _closed_tasks(results: Entry, half: str) -> str:
    return "-" if half == "tuning" else _closed(results, "held-out tasks")


def _action(results: Entry, half: str) -> str:
    f = results["counterfactual"][half]["branches"]["at the alarm"]["branches"]["prescribed"]
    return pct(f["harmed"], clusters=False)


def _harmed(results: Entry, half: str) -> str:
    f = results["counterfactual"][half]["policies"]["Steersman"]
    return pct(f["harmed, healthy runs"], clusters=False)


def _cost(results: Entry, half: str) -> str:
    return f"{results['cost']['us_a_row']:.0f}" if half == "tuning" else "-"


TARGETS: tuple[tuple[str, str, Figure], ...] = (
    ("spikes found; false alarms per 1,000 steps", ">= 98 %; <= 0.03", _spike),
    ("lasting harm found; median delay, steps", ">= 95 %; <= 6", _lasting),
    ("too low by a quarter: found; said of fine; of too high", ">= 75 %; <= 3 %; 0",
     _direction("lr_too_low", "low", "ok", "high")),
    ("too high by a quarter: found; said within 2x of the best; of too low", ">= 85 %; <= 3 %; <= 1 %",
     _direction("lr_too_high", "high", "near", "low")),
    ("plateau: improving flagged; flat caught", "<= 1 %; >= 90 %", _plateau),
    ("recommended within x4 of the best; abstains", ">= 80 %; <= 30 %", _recommended),
    ("regret closed", "more than any other", _closed),
    ("regret closed, held-out tasks", ">= 45 %", _closed_tasks),
    ("harm per first action", "<= 2 % (n >= 200)", _action),
    ("harm per healthy run", "<= 0.3 % (n >= 300)", _harmed),
    ("µs a row, all rules", "<= 20", _cost),
)  # fmt: skip


def table(results: Entry) -> Entry:
    """The rows; a part that was not measured leaves a dash."""
    rows = []
    for what, aim, figure in TARGETS:
        row = {"what": what, "aim": aim}
        for half in HALVES:
            try:
                row[half] = figure(results, half)
            except (KeyError, TypeError):
                row[half] = "-"
        rows.append(row)
    return {"rows": rows}
