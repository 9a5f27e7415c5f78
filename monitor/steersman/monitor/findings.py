"""Findings and a diagnosis as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from steersman.monitor import jsonfloat
from steersman.rules.finding import Evidence, Finding, FindingState, Severity
from steersman.rules.verdict import Diagnosis, ExpectedEffect, Prescription, PrescriptionKind, RecommendedLR, Verdict

_ORDER = {FindingState.FIRING: 0, FindingState.PENDING: 1, FindingState.RESOLVED: 2, FindingState.INACTIVE: 3}


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Firing first, then pending, then resolved; those that were never active are left out."""
    told = [f for f in findings if f.state is not FindingState.INACTIVE]
    return tuple(sorted(told, key=lambda f: (_ORDER[f.state], -f.first_step, f.rule)))


def write(findings: Sequence[Finding], diagnosis: Diagnosis | None) -> str:
    """As one JSON text."""
    return jsonfloat.dumps(
        {"findings": [asdict(f) for f in findings], "diagnosis": asdict(diagnosis) if diagnosis else None}
    )


def read(text: str | None) -> tuple[tuple[Finding, ...], Diagnosis | None]:
    """Undoes `write`; nothing for None."""
    if text is None:
        return (), None
    data = jsonfloat.loads(text)
    findings = tuple(_finding(f) for f in data["findings"])
    return findings, _diagnosis(data["diagnosis"]) if data["diagnosis"] else None


def _finding(data: dict[str, Any]) -> Finding:
    return Finding(
        **{
            **data,
            "state": FindingState(data["state"]),
            "severity": Severity(data["severity"]),
            "evidence": tuple(Evidence(**e) for e in data["evidence"]),
        }
    )


def _diagnosis(data: dict[str, Any]) -> Diagnosis:
    lr, prescription = data["recommended_lr"], data["prescription"]
    return Diagnosis(
        **{
            **data,
            "verdict": Verdict(data["verdict"]),
            "evidence_for": tuple(data["evidence_for"]),
            "evidence_against": tuple(data["evidence_against"]),
            "rules": tuple(data["rules"]),
            "recommended_lr": RecommendedLR(**lr) if lr else None,
            "prescription": _prescription(prescription) if prescription else None,
        }
    )


def _prescription(data: dict[str, Any]) -> Prescription:
    expected = data.get("expected")
    return Prescription(
        **{
            **data,
            "kind": PrescriptionKind(data["kind"]),
            "expected": ExpectedEffect(**expected) if expected else None,
        }
    )
