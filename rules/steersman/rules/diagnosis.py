"""The one cause that best explains what is firing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from steersman.rules import sentences
from steersman.rules.alarm import Alarm
from steersman.rules.confidence import HEALTHY, HEALTHY_BLIND, stated
from steersman.rules.effects import expected
from steersman.rules.facts import JobFacts
from steersman.rules.features.panel import Panel
from steersman.rules.features.stepsize import ASSUMED_STEPS
from steersman.rules.finding import FindingState, Severity
from steersman.rules.lr_memory import COME_DOWN, LrMemory
from steersman.rules.prescribe import cut, raised
from steersman.rules.recommend import higher, lower
from steersman.rules.verdict import Diagnosis, Prescription, PrescriptionKind, RecommendedLR, Verdict

Value = float | bool | None

SURE_HIGH = 0.9
"""What the learned judgement must say for a second cut of a job that is not broken."""

SHORT = 30
"""Points below which nothing is said of a job in which nothing fires."""

_PRECEDENCE = (
    Verdict.NONFINITE,
    Verdict.PRECISION_OVERFLOW,
    Verdict.DIVERGED,
    Verdict.GRADIENT_EXPLOSION,
    Verdict.WARMUP_TOO_SHORT,
    Verdict.LR_TOO_HIGH,
    Verdict.SPIKE,
    Verdict.BAD_DATA,
    Verdict.LR_TOO_LOW,
    Verdict.GRADIENT_VANISHING,
    Verdict.OVERFITTING,
    Verdict.DECAY_TOO_EARLY,
    Verdict.DECAY_TOO_LATE,
    Verdict.PLATEAU,
    Verdict.UNDERFITTING,
)
"""What comes first hides what comes after it: a job that diverges also spikes, and one with a rate of zero is flat."""

_SELF_DECAYING = ("adagrad", "adadelta")
"""Optimizers whose steps shrink by the gradients they have seen (Duchi et al. 2011, Zeiler 2012): what blew up has cut
their steps already, and a cut on top of it is one too many. They are told a rate for a restart, and left alone."""


class Diagnostician:
    """Weighs the candidates against each other.

    Args:
        facts: what the job said of itself.
    """

    def __init__(self, facts: JobFacts) -> None:
        self.facts = facts
        self.memory = LrMemory()

    def adjusted(self, factor: float, before: Diagnosis) -> None:
        """Our own hand moved the LR, when this was the diagnosis."""
        recommended = before.recommended_lr
        self.memory.adjusted(factor, before.at_step, None if recommended is None else recommended.value)

    def watch(self, values: Mapping[str, Value], alarms: Sequence[Alarm]) -> None:
        """After each check: remember what the job has shown of its learning rates.

        Args:
            values: the features.
            alarms: those that are open, at least.
        """
        self.memory.watch(values, alarms)

    def diagnose(self, panel: Panel, alarms: Sequence[Alarm]) -> Diagnosis:
        """Name the cause."""
        values = panel.values()
        firing = [a for a in alarms if a.status == FindingState.FIRING.value]
        loud = sorted((a for a in firing if a.severity != Severity.INFO.value), key=lambda a: _rank(a.rule.verdict))
        if not loud:
            return self._quiet(panel, values, firing, alarms)
        verdict = loud[0].rule.verdict
        blame = self._blames_lr(verdict, values)
        group = [verdict]
        broken = verdict is Verdict.NONFINITE
        if verdict in (Verdict.NONFINITE, Verdict.DIVERGED, Verdict.GRADIENT_EXPLOSION) and blame:
            # What is to be seen is not the cause.
            group = [verdict, Verdict.DIVERGED, Verdict.LR_TOO_HIGH]
            verdict = Verdict.LR_TOO_HIGH
        behind = [a for a in firing if a.rule.verdict in group]
        pro = [a.finding().summary for a in behind]
        more = sentences.supporting(verdict, values, self.memory.steps)
        against = sentences.against(verdict, values)
        others = {a.rule.verdict: a for a in reversed(loud) if a.rule.verdict not in group}
        against += [f"Another cause would be {sentences.headline(v)}: {a.finding().summary}" for v, a in others.items()]
        confidence = stated(verdict, [a.severity for a in behind], len(more), len(against))
        if verdict is Verdict.NONFINITE:
            confidence = 1.0  # it is to be seen
        if verdict is Verdict.LR_TOO_HIGH and self.memory.cuts and self.memory.broke_after_cut:
            confidence *= 0.5
            against.append(
                "It broke again although the learning rate was cut to what was recommended: the learning rate may not "
                "be the cause (initialisation, precision and data are others)."
            )
        if verdict is Verdict.LR_TOO_HIGH and self._cut_before(values, behind):
            against.append(
                "The learning rate was cut before, the job is not broken, and it is not beyond doubt that a lower one "
                "would end better: another cut is left to a person."
            )
        recommended, lever = self._recommend(verdict, values, blame)
        # Weights that are no numbers stay so at any rate.
        prescription = None if broken else self._prescribe(verdict, values, behind, recommended)
        if verdict is Verdict.DIVERGED and not blame:
            against.append(sentences.not_blamed(values, self.memory.steps, self.memory.served))
        elif lever and recommended is None:
            against.append(sentences.unknown_value(verdict, values["lr"]))
        elif recommended is not None and prescription is None and not self._cut_before(values, behind):
            against.append(self._why_no_hand(verdict, values, behind, broken))
        pro.extend(sentences.not_back(values, self.memory))
        return Diagnosis(
            verdict=verdict,
            confidence=round(confidence, 3),
            onset_step=min(a.began_step for a in behind),
            at_step=panel.step,
            time=panel.time,
            headline=sentences.headline(verdict, broken),
            evidence_for=tuple(dict.fromkeys([*pro, *more, *sentences.which_set(verdict, panel)])),
            evidence_against=tuple(against),
            would_refute=sentences.would_refute(verdict, values["lr"]),
            recommended_lr=recommended,
            prescription=prescription,
            lr_is_the_lever=lever,
            rules=tuple(a.rule.name for a in behind),
        )

    def _quiet(
        self, panel: Panel, values: Mapping[str, Value], firing: Sequence[Alarm], alarms: Sequence[Alarm]
    ) -> Diagnosis:
        learned = panel.learned or panel.joined  # who came late cannot ask for it to have fallen
        memory, i_lo = self.memory, values["i_lo"]
        # One that improves all the same has shown that the rate serves.
        as_high = memory.carried_up(values["lr"]) and (i_lo is None or i_lo <= 0.0 or memory.stood is not None)
        waiting = [a.rule.name for a in alarms if a.status == FindingState.PENDING.value and a.severity != "info"]
        if panel.regime.points < SHORT:
            verdict, confidence = Verdict.TOO_SHORT, 0.9
        elif panel.bad_loss.points == 0 or (panel.regime.blanked and panel.regime.points < 2 * SHORT) or waiting:
            verdict, confidence = Verdict.UNDETERMINED, 0.5
        else:
            i_up, c = values["i_up"], values["c"]
            rises = (i_up is not None and i_up < -0.05) or (values["affine_up"] or 0.0) > sentences.AFFINE_RISE
            worse = rises or panel.in_turn or not learned or memory.stood is not None or as_high
            worse = worse or sentences.hardly_moves(values)
            verdict = Verdict.UNDETERMINED if worse else Verdict.HEALTHY
            confidence = 0.5 if worse else HEALTHY if c is not None else HEALTHY_BLIND
        return Diagnosis(
            verdict=verdict,
            confidence=round(confidence, 3),
            onset_step=None,
            at_step=panel.step,
            time=panel.time,
            headline=sentences.headline(verdict) if memory.stood is None else sentences.NOT_BACK,
            evidence_for=(
                *sentences.not_back(values, memory),
                *(sentences.as_high(values, memory) if as_high else ()),
                *sentences.quiet(verdict, values, panel.regime.reason, SHORT, learned),
            ),
            evidence_against=(
                *sentences.quiet_against(values),
                *(f"{name} holds, but not yet for long enough." for name in waiting),
                *(a.finding().summary for a in firing),
            ),
            would_refute=sentences.would_refute(verdict),
            lr_is_the_lever=False if verdict is Verdict.HEALTHY else None,
            rules=tuple(a.rule.name for a in firing),
        )

    def _blames_lr(self, verdict: Verdict, values: Mapping[str, Value]) -> bool | None:
        """Whether a job that broke was stepping too far; None where nothing is known of its steps."""
        if verdict not in (Verdict.DIVERGED, Verdict.NONFINITE, Verdict.GRADIENT_EXPLOSION):
            return verdict is Verdict.LR_TOO_HIGH
        memory = self.memory
        seen = memory.steps
        overshoot = values["overshoot"]
        if values["lr"] is None and "r_top" not in seen:
            return None
        if "r_top" in seen:
            reach = seen["r_top"] * math.sqrt(seen.get("horizon", 1000.0))
            return reach > 1.0 or seen.get("travel", 0.0) > 0.6 or seen.get("c", 0.0) < -0.1
        if memory.unstable is not None and verdict is not Verdict.NONFINITE:
            peak = values["lr_peak"]
            # A rate at which it had improved undisturbed for long is not suddenly too high.
            return peak is not None and memory.unstable > 0.3 * peak and not memory.served
        if overshoot is not None and overshoot > 0.2 and not values["warmup"]:
            return True
        return None

    def _recommend(
        self, verdict: Verdict, values: Mapping[str, Value], blame: bool | None
    ) -> tuple[RecommendedLR | None, bool | None]:
        lr, memory = values["lr"], self.memory
        if lr is None:
            return None, True if verdict in (Verdict.LR_TOO_HIGH, Verdict.LR_TOO_LOW) else None
        if blame:
            broke = memory.unstable or lr
            if broke <= 1e-100:
                return None, True  # nothing can be a part of it
            seen = {**values, **memory.steps}
            optimizer = self.facts.optimizer
            return lower(seen, broke, optimizer, memory.stable, memory.unstable, memory.in_warmup), True
        if verdict is Verdict.LR_TOO_LOW:
            asks = memory.asks
            return higher(asks or values, asks.get("lr", lr), memory.unstable), True
        if verdict in (Verdict.OVERFITTING, Verdict.BAD_DATA, Verdict.GRADIENT_VANISHING):
            return None, False
        return None, None

    def _prescribe(
        self,
        verdict: Verdict,
        values: Mapping[str, Value],
        behind: Sequence[Alarm],
        recommended: RecommendedLR | None,
    ) -> Prescription | None:
        lr = values["lr"]
        if not lr:
            return None
        rules = [a.rule.prescribe for a in behind if a.rule.prescribe is not None]
        if not rules:
            return None
        rule = rules[0]
        over = rule.over
        if rule.scale is not None:
            factor = rule.scale
        elif recommended is None:
            return None
        else:
            factor = recommended.value / lr
        if verdict is Verdict.LR_TOO_LOW:
            share = values["lr_share"]
            if factor <= 1.0 or (share is not None and share < COME_DOWN):
                return None  # small steps late in a schedule are meant
            factor = min(factor, raised(values, factor, self.facts.optimizer))
            over = max(over, round(over * math.log2(factor)))
        elif factor >= 1.0:
            return None  # the schedule has come down to it by itself
        elif self._sums_up() or self._cut_before(values, behind):
            return None
        else:
            factor = max(factor, cut(values, _critical(behind)))
        return Prescription(
            kind=PrescriptionKind.SCALE,
            value=factor,
            over_steps=over,
            reason=sentences.reason(verdict, lr, lr * factor),
            risk=rule.risk,
            expected=expected(factor, _critical(behind)),
        )

    def _why_no_hand(self, verdict: Verdict, values: Mapping[str, Value], behind: Sequence[Alarm], broken: bool) -> str:
        """Why a rate is recommended and no adjustment is proposed."""
        if broken:
            return "No adjustment is proposed: weights that are no numbers stay so at any rate. It is for a restart."
        if self._sums_up():
            return (
                "No adjustment is proposed: this optimizer sums up the gradients it has seen, and has cut its steps "
                "already. The value is for a restart."
            )
        if not any(a.rule.prescribe for a in behind):
            return f"No adjustment is proposed: {', '.join(a.rule.name for a in behind)} only says what is to be seen."
        share = values["lr_share"]
        if share is not None and share < 1.0:
            return f"No adjustment is proposed: the schedule has come down to {share:.0%} of its peak by itself."
        return "No adjustment is proposed: the rate in force is no further off than that."

    def _sums_up(self) -> bool:
        return any(word in self.facts.optimizer.lower() for word in _SELF_DECAYING)

    def _cut_before(self, values: Mapping[str, Value], behind: Sequence[Alarm]) -> bool:
        """Whether it was cut less than half the horizon, or 1,000 steps, ago, is not broken, and may be low enough.

        Where the learned judgement is as sure as this, a second cut is made: on fresh seeds of the tuning half that
        helped 370 of 748 jobs that were acted on and harmed 16, one cut 357 and 15 (`benchmarks.diagnosis.again`).
        """
        memory, horizon, step = self.memory, values["horizon"], values["step"]
        if not memory.cuts or _critical(behind) or step is None or horizon is None:
            return False
        sure = values["p_high"]
        if sure is not None and sure > SURE_HIGH:
            return False
        return memory.cut_step <= step < memory.cut_step + max(ASSUMED_STEPS, 0.5 * horizon)

    def state(self) -> dict[str, Any]:
        """The state, as `Saved` writes it."""
        return {"memory": self.memory.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self.memory.load(state["memory"])


def _critical(behind: Sequence[Alarm]) -> bool:
    return any(alarm.severity == Severity.CRITICAL.value for alarm in behind)


def _rank(verdict: Verdict) -> int:
    return _PRECEDENCE.index(verdict) if verdict in _PRECEDENCE else len(_PRECEDENCE)
