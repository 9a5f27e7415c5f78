"""What a job has shown of its learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from steersman.rules.alarm import Alarm
from steersman.rules.features.saved import Saved
from steersman.rules.finding import Severity
from steersman.rules.verdict import Verdict

Value = float | bool | None

_BROKEN = (Verdict.LR_TOO_HIGH, Verdict.DIVERGED, Verdict.NONFINITE, Verdict.GRADIENT_EXPLOSION)
_STEPS = ("r_top", "horizon", "travel", "c", "rho")
_INFO = str(Severity.INFO.value)  # looked up once: this is asked after each check
_ASKS = ("lr", "r", "horizon", "octaves")

COME_DOWN = 0.6
"""Share of its peak below which a schedule has come down by itself."""

THROWN = 0.69
"""Nats above its best from which on a job that breaks was thrown back, as the rule `runaway` has it."""

BACK = 1.05
"""Times its best loss at which a job that broke has come back."""


def above(lr: float | None, aim: float | None) -> bool:
    """Whether a rate is well above the one that was aimed at; not where one of them is unknown.

    >>> above(0.5, 0.02), above(0.025, 0.02), above(0.5, None)
    (True, False, False)
    """
    return lr is not None and aim is not None and lr > 1.5 * aim


class LrMemory(Saved):
    """Remembers at which rates the job improved undisturbed, at which it broke, and what its steps were like then.

    Attributes:
        stable: highest rate at which it improved undisturbed, None where it has not.
        unstable: lowest rate at which it began to break.
        share: the product of all factors by which our own hand has moved the rate.
        cuts: how often our own hand lowered the rate since that was last 1 or above.
        cut_step: the step at which it last did.
        aim: the rate that was recommended when it was last lowered, None where none was.
        broke_after_cut: how often it broke after that, at a rate no higher than what was aimed at: a job that is still
            too hot after half the way down only shows that it was half the way.
        hot: whether it is broken now.
        in_warmup: whether it last broke before its warm-up was over.
        served: whether it had improved undisturbed at half the rate at which it last broke, or more.
        thrown: the best loss, smoothed, of a job that is broken and stands far above it; None else.
        stood: that of one that was adjusted then, until it has come back to it; None else.

    `steps` and `asks` are read from the last values in which they could be: what the steps of a job that does not break
    ask of its rate, as it was before its own schedule came down, and the logarithm of the rate that they were judged to
    ask for, `ln_best`.
    """

    FIELDS: ClassVar[tuple[str, ...]] = (
        "stable", "unstable", "cuts", "aim", "broke_after_cut", "hot", "before", "suspect",
        "in_warmup", "served", "cut_step", "share", "thrown", "stood",
    )  # fmt: skip

    def __init__(self) -> None:
        self.stable: float | None = None
        self.unstable: float | None = None
        self.cuts = 0
        self.cut_step = 0
        self.share = 1.0
        self.aim: float | None = None
        self.broke_after_cut = 0
        self.hot = False
        self.before: float | None = None
        self.suspect: float | None = None
        self.in_warmup = False
        self.served = False
        self.thrown: float | None = None
        self.stood: float | None = None
        # Rules are checked far more often than anybody asks what they saw: the last values are kept until then.
        self._steps: dict[str, float] = {}
        self._steps_seen: Mapping[str, Value] | None = None
        self._ln_best: float | None = None
        self._asks: dict[str, float] = {}
        self._asks_seen: Mapping[str, Value] | None = None

    @property
    def steps(self) -> dict[str, float]:
        """The last features of its steps that were still numbers, with `ln_best` where that is known."""
        if self._steps_seen is not None:
            self._steps, self._steps_seen = _known(self._steps_seen, _STEPS), None
        return self._steps if self._ln_best is None else {**self._steps, "ln_best": self._ln_best}

    @property
    def asks(self) -> dict[str, float]:
        """What the steps of a job that does not break ask of its rate."""
        if self._asks_seen is not None:
            self._asks, self._asks_seen = _known(self._asks_seen, _ASKS), None
        return self._asks

    def carried_up(self, lr: float | None) -> bool:
        """Whether a schedule has carried a rate that was cut back up to what broke the job."""
        return self.cuts > 0 and self.unstable is not None and lr is not None and lr > 0.7 * self.unstable

    def adjusted(self, factor: float, step: int, recommended: float | None = None) -> None:
        """Our own hand moved the rate after a step, when this one was recommended."""
        self.stood = self.stood if self.stood is not None else self.thrown
        self.thrown = None
        if math.isfinite(factor):  # of an adjustment to a value nobody knows the factor where the rate is not known
            self.share *= factor
        if self.share > 0.999:
            self.cuts = 0  # raised only, or a cut that was taken back
        elif factor < 1.0:
            self.cuts += 1
            self.cut_step = step
            self.aim = recommended
        self.hot = False
        self._ln_best = None

    def watch(self, values: Mapping[str, Value], alarms: Sequence[Alarm]) -> None:
        """After each check; of the alarms only those count that are open."""
        broken, loud, pending, nonfinite = False, False, False, False
        for alarm in alarms:
            status = alarm.status
            if status == "inactive" or status == "resolved" or alarm.severity == _INFO:
                continue
            verdict = alarm.rule.verdict
            if status == "pending":
                pending = pending or verdict in _BROKEN
                continue
            loud = True
            broken = broken or verdict in _BROKEN
            nonfinite = nonfinite or verdict is Verdict.NONFINITE
        if values["r_top"] is not None and not nonfinite:
            # Once the weights are no numbers their steps tell nothing: the last that did are kept.
            self._steps_seen = values
        lr, loss = values["lr"], values["loss_smooth"]
        if self.stood is not None and loss is not None and loss <= BACK * self.stood:
            self.stood = None
        octaves = values["octaves"]
        share = values["lr_share"]
        # What a job looks like late in a schedule that came down by itself says nothing of the rate it should have had.
        high = share is None or share >= COME_DOWN or bool(values["adjusted"])
        if lr is not None and lr > 0.0 and high:
            self._asks_seen = values
        if octaves is not None and lr is not None and lr > 0.0 and high and not nonfinite:
            self._ln_best = math.log(lr) - octaves * math.log(2.0)
        if broken and not self.hot:
            self.hot = True
            self.in_warmup = values["warmup"] is True
            self.broke_after_cut += self.cuts > 0 and not above(lr, self.aim)
            self._broke(lr)
        elif not broken and self.hot and not values["blanked"]:
            self.hot, self.thrown = False, None
        up = values["up"] if self.hot else None
        if up is not None and up > THROWN and loss is not None:
            # The least of them: a jump of the rate makes what it has come to what it is compared with. Where it broke
            # at once, the first loss is its best.
            known = (loss * math.exp(-up), values["loss_first"], self.thrown)
            self.thrown = min(float(level) for level in known if level is not None)
        # What breaks a job was in force when the trouble began, not when it was beyond doubt.
        self.suspect = (self.suspect or self.before or lr) if pending else None
        if lr is not None and lr > 0.0:
            if not loud and not pending and not values["blanked"] and not values["warmup"]:
                i_lo = values["i_lo"]
                # Coming back from where it was thrown is no sign that the rate serves.
                if i_lo is not None and i_lo > 0.05 and self.stood is None:
                    self.stable = lr if self.stable is None else max(lr, self.stable)
            self.before = lr

    def _broke(self, now: float | None) -> None:
        rate = self.suspect or self.before or now
        if rate is None or rate <= 0.0:
            return
        self.unstable = rate if self.unstable is None else min(rate, self.unstable)
        self.served = self.stable is not None and self.stable > rate / 2.0
        if self.stable is not None and self.stable >= self.unstable:
            self.stable = None

    def state(self) -> dict[str, Any]:
        """See `Saved.state`."""
        return {**super().state(), "steps": dict(self.steps), "asks": dict(self.asks)}

    def load(self, state: dict[str, Any]) -> None:
        """See `Saved.load`."""
        super().load(state)
        self._steps, self._steps_seen = dict(state["steps"]), None
        self._ln_best = self._steps.pop("ln_best", None)
        self._asks, self._asks_seen = dict(state["asks"]), None


def _known(values: Mapping[str, Value], names: Sequence[str]) -> dict[str, float]:
    return {name: float(value) for name in names if (value := values[name]) is not None}
