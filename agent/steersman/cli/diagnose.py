"""`steersman diagnose`: what was wrong with a run that somebody wrote down."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from steersman.rules.finding import FindingState
from steersman.rules.packs import load_pack
from steersman.rules.readers.huggingface import read
from steersman.rules.replay import Replay, replay


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One object a line and run.")
def command(paths: tuple[Path, ...], as_json: bool) -> None:
    """Say what was wrong with the runs logged in PATHS."""
    pack = load_pack()
    worst = 0
    for path in paths:
        done = replay(read(path), pack)
        shown = as_object(done)
        worst = max(worst, any(f["severity"] == "critical" for f in shown["findings"]))
        click.echo(json.dumps(shown))
    sys.exit(worst)


def as_object(done: Replay) -> dict[str, Any]:
    """The documented shape of `diagnose --json`."""
    said = done.diagnosis
    fired = [f for f in done.engine.findings() if f.state in (FindingState.FIRING, FindingState.RESOLVED)]
    lr = said.recommended_lr
    plan = said.prescription
    return {
        "run": done.recording.name,
        "source": done.recording.source,
        "steps": len(done.recording.samples),
        "verdict": said.verdict.value,
        "confidence": said.confidence,
        "onset_step": said.onset_step,
        "recommended_lr": {"value": lr.value, "low": lr.low, "high": lr.high} if lr else None,
        "findings": [
            {
                "rule": f.rule,
                "severity": f.severity.value,
                "first_step": f.first_step,
                "last_step": f.last_step,
                "evidence": {e.name: e.value for e in f.evidence},
            }
            for f in fired
        ],
        "for": list(said.evidence_for),
        "against": list(said.evidence_against),
        "prescription": {
            "kind": plan.kind.value,
            "value": plan.value,
            "over_steps": plan.over_steps,
            "reason": plan.reason,
            "risk": plan.risk,
        }
        if plan
        else None,
        "lr_is_the_lever": said.lr_is_the_lever,
    }
