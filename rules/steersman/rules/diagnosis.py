"""The one cause that best explains what is firing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from steersman.rules import sentences
from steersman.rules.alarm import Alarm
from steersman.rules.facts import JobFacts
from steersman.rules.features.panel import Panel
from steersman.rules.features.saved import Saved
from steersman.rules.finding import FindingState, Severity
from steersman.rules.recommend import higher, lower
from steersman.rules.verdict import Diagnosis, Prescription, PrescriptionKind, RecommendedLR, Verdict

Value = float | bool | None

SHORT = 50
"""Points below which nothing is said of a job that has not broken."""

_PRECEDENCE = (
    Verdict.NONFINITE,
    Verdict.DIVERGED,
    Verdict.LR_TOO_HIGH,
    Verdict.LR_TOO_LOW,
    Verdict.PLATEAU,
    Verdict.OVERFITTING,
    Verdict.SPIKE,
)
_PRIOR = {Severity.CRITICAL: 0.85, Severity.WARNING: 0.7, Severity.INFO: 0.4}


class Diagnostician(Saved):
    """Weighs the candidates against each other, and remembers what the job has shown of its learning rates.

    Args:
        facts: what the job said of itself.
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("stable_lr", "unstable_lr", "cuts", "broke_after_cut", "was_hot", "hot")

    def __init__(self, facts: JobFacts) -> None:
        self.facts = facts
        self.stable_lr: float | None = None
        self.unstable_lr: float | None = None
        self.cuts = 0
        self.broke_after_cut = 0
        self.was_hot = False
        self.hot: dict[str, float] = {}

    def adjusted(self, step: int, factor: float) -> None:
        """Our own hand moved the LR."""
        del step
        if factor < 1.0:
            self.cuts += 1
        self.was_hot = False

    def watch(self, values: Mapping[str, Value], alarms: Sequence[Alarm]) -> None:
        """After each check: remember the LRs that were stable, those that were not, and what the steps were like."""
        lr = values.get("lr")
        firing = [a for a in alarms if a.status == "firing"]
        if values.get("r_top") is not None and not any(a.rule.verdict is Verdict.NONFINITE for a in firing):
            # Once the weights are no numbers their steps tell nothing: the last that did are kept.
            self.hot = {k: float(v) for k in ("r_top", "horizon", "travel", "c", "rho") if (v := values[k]) is not None}
        loud = [a for a in firing if a.severity != Severity.INFO.value]
        hot = any(a.rule.verdict in (Verdict.LR_TOO_HIGH, Verdict.DIVERGED, Verdict.NONFINITE) for a in loud)
        if hot and not self.was_hot:
            self.was_hot = True
            if self.cuts:
                self.broke_after_cut += 1
        elif not hot and self.was_hot and not values["blanked"]:
            self.was_hot = False
        if lr is None or lr <= 0.0:
            return
        if any(a.rule.verdict in (Verdict.LR_TOO_HIGH, Verdict.DIVERGED) for a in loud):
            self.unstable_lr = lr if self.unstable_lr is None else min(lr, self.unstable_lr)
            if self.stable_lr is not None and self.stable_lr >= self.unstable_lr:
                self.stable_lr = None
        elif not loud and not values["blanked"] and not values["warmup"]:
            i_lo = values.get("i_lo")
            if i_lo is not None and i_lo > 0.05:
                self.stable_lr = lr if self.stable_lr is None else max(lr, self.stable_lr)

    def diagnose(self, panel: Panel, alarms: Sequence[Alarm]) -> Diagnosis:
        """Name the cause."""
        values = panel.values()
        firing = [a for a in alarms if a.status == FindingState.FIRING.value]
        if not firing:
            return self._quiet(panel, values, alarms)
        loud = [a for a in firing if a.severity != Severity.INFO.value] or firing
        loud.sort(key=lambda a: _rank(a.rule.verdict))
        verdict = loud[0].rule.verdict
        behind = [a for a in firing if a.rule.verdict is verdict]
        confidence = max(_PRIOR[Severity(a.severity)] for a in behind)
        onset = min(a.began_step for a in behind)
        blame = self._blames_lr(verdict, values)
        if verdict is Verdict.DIVERGED and blame:
            verdict = Verdict.LR_TOO_HIGH
            behind = [a for a in firing if a.rule.verdict in (Verdict.DIVERGED, Verdict.LR_TOO_HIGH)]
        pro = [a.finding().summary for a in behind]
        against = sentences.against(verdict, values)
        more = sentences.supporting(verdict, values, self.hot)
        confidence = min(max(confidence + 0.04 * len(more) - 0.08 * len(against), 0.05), 0.97)
        if verdict is Verdict.NONFINITE:
            confidence = 1.0
        if verdict is Verdict.LR_TOO_HIGH and self.cuts and self.broke_after_cut:
            confidence *= 0.5
            against.append(
                f"It broke again after the learning rate was cut {self.cuts} time(s): the learning rate may not be the "
                "cause (initialisation, precision and data are others)."
            )
        recommended, lever = self._recommend(verdict, values, blame)
        return Diagnosis(
            verdict=verdict,
            confidence=round(confidence, 3),
            onset_step=onset,
            at_step=panel.step,
            time=panel.time,
            headline=sentences.headline(verdict, bool(blame)),
            evidence_for=tuple(dict.fromkeys([*pro, *more])),
            evidence_against=tuple(against),
            would_refute=sentences.would_refute(verdict),
            recommended_lr=recommended,
            prescription=self._prescribe(verdict, values, behind, recommended),
            lr_is_the_lever=lever,
            rules=tuple(a.rule.name for a in behind),
        )

    def _quiet(self, panel: Panel, values: Mapping[str, Value], alarms: Sequence[Alarm]) -> Diagnosis:
        pending = [a.rule.name for a in alarms if a.status == FindingState.PENDING.value and a.severity != "info"]
        if panel.regime.points < SHORT:
            verdict, confidence = Verdict.TOO_SHORT, 0.9
        elif panel.regime.blanked or pending or panel.bad_loss.points == 0:
            verdict, confidence = Verdict.UNDETERMINED, 0.5
        else:
            i_lo, c = values["i_lo"], values["c"]
            improving = i_lo is not None and i_lo > 0.0
            known = c is not None
            if not improving and not known:
                verdict, confidence = Verdict.UNDETERMINED, 0.4
            else:
                verdict, confidence = Verdict.HEALTHY, 0.6 + 0.15 * improving + 0.15 * known
        return Diagnosis(
            verdict=verdict,
            confidence=confidence,
            onset_step=None,
            at_step=panel.step,
            time=panel.time,
            headline=sentences.headline(verdict, False),
            evidence_for=tuple(sentences.quiet(verdict, values, panel.regime.reason)),
            evidence_against=tuple(f"{name} holds, but not yet for long enough." for name in pending),
            would_refute=sentences.would_refute(verdict),
            lr_is_the_lever=False if verdict is Verdict.HEALTHY else None,
        )

    def _blames_lr(self, verdict: Verdict, values: Mapping[str, Value]) -> bool | None:
        """Whether a job that broke was stepping too far; None where nothing is known of its steps."""
        if verdict not in (Verdict.DIVERGED, Verdict.NONFINITE):
            return verdict is Verdict.LR_TOO_HIGH
        seen = self.hot
        overshoot = values.get("overshoot")
        if "r_top" in seen:
            reach = seen["r_top"] * math.sqrt(seen.get("horizon", 1000.0))
            return reach > 1.0 or seen.get("travel", 0.0) > 0.6 or seen.get("c", 0.0) < -0.1
        if overshoot is not None and overshoot > 0.2 and not values.get("warmup"):
            return True
        return None

    def _recommend(
        self, verdict: Verdict, values: Mapping[str, Value], blame: bool | None
    ) -> tuple[RecommendedLR | None, bool | None]:
        lr = values.get("lr")
        if lr is None:
            return None, True if verdict in (Verdict.LR_TOO_HIGH, Verdict.LR_TOO_LOW) else None
        if blame and lr > 0.0:
            return lower({**values, **self.hot}, lr, self.facts.optimizer, self.stable_lr, self.unstable_lr), True
        if verdict is Verdict.LR_TOO_LOW:
            return higher(values, lr, self.unstable_lr), True
        if verdict is Verdict.OVERFITTING:
            return None, False
        return None, None

    def _prescribe(
        self,
        verdict: Verdict,
        values: Mapping[str, Value],
        behind: Sequence[Alarm],
        recommended: RecommendedLR | None,
    ) -> Prescription | None:
        lr = values.get("lr")
        if verdict is Verdict.NONFINITE or not lr:
            # Weights that are no numbers stay so at any rate.
            return None
        rules = [a.rule.prescribe for a in behind if a.rule.prescribe is not None]
        if not rules:
            return None
        rule = rules[0]
        if rule.scale is not None:
            factor = rule.scale
        elif recommended is None:
            return None
        else:
            factor = recommended.value / lr
        if verdict is Verdict.LR_TOO_LOW:
            c, t, step = values.get("c"), values.get("t_c"), values.get("step")
            early = step is not None and step < 0.5 * float(values.get("horizon") or 1000.0)
            bold = early and c is not None and t is not None and c > 0.25 and t > 5.0
            factor = min(factor, 4.0 if bold else 2.0)
        else:
            factor = max(factor, 1.0 / 16.0)
        return Prescription(
            kind=PrescriptionKind.SCALE,
            value=factor,
            over_steps=rule.over,
            reason=sentences.reason(verdict, lr, lr * factor),
            risk=rule.risk,
        )

    def state(self) -> dict[str, Any]:
        """See `Saved.state`."""
        return {**super().state(), "hot": dict(self.hot)}

    def load(self, state: dict[str, Any]) -> None:
        """See `Saved.load`."""
        super().load(state)
        self.hot = dict(state["hot"])


def _rank(verdict: Verdict) -> int:
    return _PRECEDENCE.index(verdict) if verdict in _PRECEDENCE else len(_PRECEDENCE)
