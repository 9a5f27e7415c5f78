"""All runs as one page that needs nothing beside itself: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from steersman.cli.render import SEVERITY_SIGNS, what
from steersman.cli.report.curves import charts
from steersman.cli.report.outcome import Outcome
from steersman.cli.report.overview import tally
from steersman.cli.report.page import read_as, when
from steersman.cli.report.passed_over import PassedOver, lines
from steersman.cli.report.svg import svg
from steersman.cli.words import clean, count, effect, number, percent, units, unwrapped
from steersman.rules.replay import Replay

_STYLE = """
:root{color-scheme:light dark;--fg:#1c2733;--dim:#5b6b7b;--line:#d9e0e7;--bg:#fff;--card:#f6f8fa;--train:#1f6fd0;
--val:#b7791f;--norm:#7a4fd0;--rate:#12805c;--good:#12805c;--notice:#a86500;--critical:#c62828}
@media (prefers-color-scheme:dark){:root{--fg:#d5dde5;--dim:#8b99a7;--line:#27333e;--bg:#0e1419;--card:#141c23;
--train:#6cb6ff;--val:#e0a458;--norm:#b392f0;--rate:#56d4a0;--good:#56d4a0;--notice:#ffd166;--critical:#ff6b6b}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);margin:2rem auto;max-width:56rem;
padding:0 1rem;overflow-wrap:anywhere}
h1{font-size:1.3rem}h2{font-size:1.1rem;margin:0}a{color:inherit}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}
th{font-weight:600;color:var(--dim);white-space:nowrap}td.n{text-align:right;white-space:nowrap}
section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:1rem 1.2rem;margin:1.2rem 0}
.verdict{font-size:1.05rem;font-weight:600;margin:.2rem 0}.dim{color:var(--dim);font-weight:400}
.info{color:var(--train)}.warning{color:var(--notice)}.critical,.error{color:var(--critical)}.healthy{color:var(--good)}
ul{list-style:none;padding:0;margin:.4rem 0}li.pro::before{content:"+ ";color:var(--good)}
li{padding-left:1.1em;text-indent:-1.1em}li.con::before{content:"− ";color:var(--notice)}td.rule{white-space:nowrap}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:.5rem 0}dt{color:var(--dim)}
dd{margin:0;white-space:pre-line}
svg{width:100%;height:auto;display:block;margin:.6rem 0;font:11px system-ui,sans-serif}
svg text{fill:var(--dim)}svg .title{fill:var(--fg);font-weight:600}svg .end{text-anchor:end}
svg path{fill:none;stroke-width:1.3;stroke-linejoin:round}svg .grid{stroke:var(--line)}
svg path.train{stroke:var(--train)}svg path.val{stroke:var(--val)}svg circle.val{fill:var(--val)}
svg path.norm{stroke:var(--norm)}svg path.rate{stroke:var(--rate)}
svg line.onset{stroke:var(--critical);stroke-dasharray:3 3}svg text.onset,svg text.bad{fill:var(--critical)}
"""


def web_page(outcomes: Sequence[Outcome], passed: Sequence[PassedOver] = ()) -> str:
    """The page; everything that comes from a log is escaped."""
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        # Nothing may be loaded and nothing may run, whatever a log has smuggled in.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>steersman diagnose: {_text(tally(outcomes))}</title><style>{_STYLE}</style></head><body>"
    )
    parts = [head, f"<h1>{_text(tally(outcomes))}</h1>"]
    if len(outcomes) > 1:
        parts.append(_overview(outcomes))
    parts += [_section(k, outcome) for k, outcome in enumerate(outcomes)]
    parts += [f'<p class="dim">{_text(line)}</p>' for line in lines(passed)]
    if legend := units(text for outcome in outcomes for text in outcome.sentences):
        parts.append(f'<p class="dim">{legend}</p>')
    parts.append('<p class="dim">made by steersman diagnose</p></body></html>\n')
    return "".join(parts)


def _text(words: str, limit: int = 2000) -> str:
    return escape(clean(words, limit))


def _lines(words: str) -> str:
    return "\n".join(map(_text, words.splitlines()))


def _overview(outcomes: Sequence[Outcome]) -> str:
    rows = ["<table><tr><th></th><th>run</th><th>points</th><th>diagnosis</th><th>since</th><th>LR to use</th></tr>"]
    for k, outcome in enumerate(outcomes):
        name = f'<td><a href="#run-{k}">{_text(outcome.name, 120)}</a></td>'
        if outcome.replay is None:
            rows.append(
                f'<tr><td class="error">✗</td>{name}<td></td><td class="error">{_text(outcome.error, 200)}</td></tr>'
            )
            continue
        said, severity = outcome.replay.diagnosis, outcome.severity
        lr = number(said.recommended_lr.value, 3) if said.recommended_lr else ""
        since = count(said.onset_step) if said.onset_step is not None else ""
        rows.append(
            f'<tr><td class="{severity or ""}">{SEVERITY_SIGNS[severity] if severity else ""}</td>{name}'
            f'<td class="n">{count(len(outcome.replay.recording.samples))}</td>'
            f"<td>{_text(outcome.headline)} ({percent(said.confidence)})</td>"
            f'<td class="n">{since}</td><td class="n">{lr}</td></tr>'
        )
    return "".join(rows) + "</table>"


def _section(k: int, outcome: Outcome) -> str:
    head = f'<section id="run-{k}"><h2>{_text(outcome.name)}'
    if outcome.replay is None:
        return f'{head}</h2><p class="error">{_text(outcome.error)}</p></section>'
    done = outcome.replay
    said, severity = done.diagnosis, outcome.severity
    style = severity or ("healthy" if said.verdict.value == "healthy" else "")
    since = f", since step {count(said.onset_step)}" if said.onset_step is not None else ""
    parts = [
        f'{head} <span class="dim">{_text(outcome.source)}</span></h2>',
        f'<p class="verdict {style}">{SEVERITY_SIGNS[severity] if severity else ""} {_text(outcome.headline)} '
        f'<span class="dim">confidence {percent(said.confidence)}{since}</span></p><ul>',
        *(f'<li class="pro">{_text(words)}</li>' for words in said.evidence_for),
        *(f'<li class="con">{_text(words)}</li>' for words in said.evidence_against),
        "</ul>",
        _advice(outcome, done),
        _findings(outcome),
        *(svg(chart) for chart in charts(done.recording, said.onset_step, outcome.critical)),
        f'<p class="dim">{_text(read_as(done))}</p>',
        *(f'<p class="dim">note: {_text(note)}</p>' for note in outcome.notes),
        "</section>",
    ]
    return "".join(parts)


def _advice(outcome: Outcome, done: Replay) -> str:
    said = done.diagnosis
    rows: list[tuple[str, str]] = []
    if (lr := said.recommended_lr) is not None:
        rows.append(("recommended LR", f"{number(lr.value)} (between {number(lr.low)} and {number(lr.high)})"))
    if (plan := said.prescription) is not None:
        rows.append(("prescription", f"{what(plan.kind.value, plan.value, plan.over_steps)}: {plan.reason}"))
        if (e := plan.expected) is not None:
            rows.append(("expected", effect(e.nats, e.low, e.high, e.jobs)))
        if plan.risk:
            rows.append(("risk", plan.risk))
    if outcome.runbook:
        rows.append(("what to do", unwrapped(outcome.runbook)))
    if said.would_refute:
        rows.append(("would refute it", said.would_refute))
    told = "".join(f"<dt>{name}</dt><dd>{_lines(words)}</dd>" for name, words in rows)
    return f"<dl>{told}</dl>" if rows else ""


def _findings(outcome: Outcome) -> str:
    rows = []
    for told in outcome.fired():
        finding = told.finding
        rows.append(
            f'<tr><td class="rule {finding.severity.value}">{SEVERITY_SIGNS[finding.severity.value]} '
            f"{_text(finding.rule)}</td><td>{when(told)}</td><td>{_text(finding.summary)}</td></tr>"
        )
    return f"<table>{''.join(rows)}</table>" if rows else ""
