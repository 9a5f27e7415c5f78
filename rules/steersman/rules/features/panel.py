"""All features of one job, row by row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from steersman.rules.facts import JobFacts
from steersman.rules.features.alignment import Alignment
from steersman.rules.features.batch import BatchSize
from steersman.rules.features.breakout import Breakout
from steersman.rules.features.cusum import Cusum
from steersman.rules.features.drawup import DrawUp
from steersman.rules.features.gain import GainRatio
from steersman.rules.features.hypergrad import Hypergradient
from steersman.rules.features.knee import Knee
from steersman.rules.features.logloss import LogLoss
from steersman.rules.features.nonfinite import Nonfinite
from steersman.rules.features.norms import GradientLevel
from steersman.rules.features.numerics import Numerics
from steersman.rules.features.rate import LearningRate
from steersman.rules.features.readout import Value, read_direction, read_out, read_validation
from steersman.rules.features.recovery import Recovery
from steersman.rules.features.regime import Regime
from steersman.rules.features.saved import Saved
from steersman.rules.features.spikes import Spikes
from steersman.rules.features.stale import StaleMoment
from steersman.rules.features.stepsize import ASSUMED_STEPS, StepSize
from steersman.rules.features.surge import Surge
from steersman.rules.features.trend import BlockRing, Trend
from steersman.rules.features.validation import ValidationSet
from steersman.rules.features.winsor import WinsorZ
from steersman.rules.features.zeros import Zeros
from steersman.rules.judgement import MIN_SAMPLES, judge

BOUND = 1e150
"""A value beyond this is as good as infinite: it would not survive being squared."""

JUDGE_EVERY = 4
"""Samples of the direction between two judgements of the LR, which cost as much as some ten checks."""

FALLEN = 1.0
"""Standard deviations of single losses below its beginning from which on a loss has been seen to fall, whatever its
trend says; four tenths of it where the trend says so too."""

BEGINNING = 20
"""Steps within which a job that is logged at each of them is still at its beginning."""

MAX_SETS = 16
"""Validation sets followed at most; a job that names a set after each step must not fill the memory."""

TURNS = 128
"""Rows over which it is told how many of them are those of other optimizers."""

IN_TURN, TAKEN_OVER = 0.95, 0.1
"""Below the first share of its own rows an optimizer steps in turn with others, below the second another is watched."""

_OF_AN_OPTIMIZER = (
    "scale", "z", "z_grad", "cusum", "cusum_grad", "drawup", "rate", "breakout", "breakout_grad", "knee", "zeros",
    "grad_level", "recovery", "stale", "surge", "spikes", "step_size",
)  # fmt: skip

_PARTS = (
    "scale", "z", "z_grad", "cusum", "cusum_grad", "drawup", "ring",
    "hypergrad", "step_size", "gain", "bad_loss", "bad_grad", "rate", "regime",
    "breakout", "breakout_grad", "knee", "zeros", "grad_level",
    "recovery", "numerics", "stale", "surge", "spikes", "batch", "alignment",
)  # fmt: skip


class Panel(Saved):
    """Feeds one row to every feature, and reads them out under the names that rules use.

    Args:
        facts: what the job said of itself.
    """

    FIELDS: ClassVar[tuple[str, ...]] = (
        "step", "time", "joined", "entered", "loss", "z_top", "jump", "zg_top", "adjusted", "warming", "broke_out",
        "broke_out_top", "broke_out_rattle", "broke_out_grad", "warmup_steps", "taken", "judged", "bursting", "p_low",
        "p_high", "octaves", "grad_zero_run", "grad_seen", "offset", "learned", "others", "share",
    )  # fmt: skip

    # Above thirty attributes an object without slots is looked up in a dictionary.
    __slots__ = (
        *FIELDS, *_PARTS, "facts", "sets", "_trend", "_trend_fresh", "_trend_varied", "_validation", "_direction",
    )  # fmt: skip

    def __init__(self, facts: JobFacts) -> None:
        self.facts = facts
        self.step = -1
        self.time = 0.0
        self.joined = facts.joined
        self.entered = -1
        self.loss: float | None = None
        self.z_top: float | None = None
        self.jump = 0.0
        self.zg_top: float | None = None
        self.adjusted = 0
        self.warming = False
        self.broke_out: float | None = None
        self.broke_out_top = 0.0
        self.broke_out_rattle: float | None = None
        self.broke_out_grad: float | None = None
        self.warmup_steps = 0
        self.taken = 1
        self.judged = 0
        self.bursting = False
        self.grad_zero_run = 0
        self.grad_seen = 0
        self.offset = False
        self.learned = False
        self.others = 0
        self.share = 1.0
        self.p_low: float | None = None
        self.p_high: float | None = None
        self.octaves: float | None = None
        self.scale = LogLoss()
        self.z = WinsorZ()
        self.z_grad = WinsorZ()
        self.cusum = Cusum()
        self.cusum_grad = Cusum()
        self.drawup = DrawUp()
        self.ring = BlockRing()
        self.hypergrad = Hypergradient()
        self.step_size = StepSize()
        self.gain = GainRatio()
        self.bad_loss = Nonfinite()
        self.bad_grad = Nonfinite()
        self.rate = LearningRate()
        self.regime = Regime()
        self.breakout = Breakout()
        self.breakout_grad = Breakout()
        self.knee = Knee()
        self.zeros = Zeros()
        self.grad_level = GradientLevel()
        self.recovery = Recovery()
        self.numerics = Numerics()
        self.stale = StaleMoment()
        self.surge = Surge()
        self.spikes = Spikes()
        self.batch = BatchSize()
        self.alignment = Alignment()
        self.sets: dict[str, ValidationSet] = {}
        self._trend: Trend | None = None
        self._trend_fresh = False
        self._trend_varied = False
        self._validation: dict[str, Value] | None = None
        self._direction: tuple[float, dict[str, Value]] | None = None

    def clock(self, step: int, time: float) -> int:
        """Take a row's step and time; returns how many steps it stands for, and begins a regime after a restart."""
        before, self.step, self.time = self.step, step, time
        self.bursting = False
        self.regime.tick()
        taken = step - before if before >= 0 else 1
        if self.entered < 0 or self.regime.points == 2:
            self._enter(step, taken)
        if taken < 0:
            self.begin("steps jumped back", afresh=True)
            taken = 1
        self.taken = taken
        return taken

    def _enter(self, step: int, taken: int) -> None:
        """Take one of the first two rows, which tell whether there were others: logged every 500, one begins at 500."""
        if self.entered < 0:
            self.entered = step
        elif step > self.entered:
            self.joined = self.joined or self.entered >= max(BEGINNING, 2 * taken + 1)
            self._direction = None

    def learning_rate(self, lr: float, steps: int) -> None:
        """Take the LR of the first group."""
        if not abs(lr) < BOUND:
            return
        peak = self.rate.peak
        if lr > peak and self.z.count >= 20 and not self.scale.affine:
            self.surge.begin(lr, peak, self.z.location, self.z.scale)
        jumped = self.rate.update(lr, steps)
        warming = self.rate.warming
        if self.warming and not warming:
            self.warmup_steps = self.warmup_steps or self.step
            self.begin("the warm-up ended", keep_best=True)
        elif jumped:
            self.begin("the LR jumped")
        self.warming = warming

    def own_row(self) -> None:
        """Take note of a row of the optimizer that is watched, where there are those of others."""
        self._turn(1.0)
        if self.share > 0.999:
            self.share = 1.0

    def other_row(self) -> bool:
        """Take note of a row that is another optimizer's; whether hardly any other is left."""
        self.others += 1
        self._turn(0.0)
        return self.others >= TURNS // 2 and self.share < TAKEN_OVER

    def _turn(self, own: float) -> None:
        self.share += (own - self.share) / min(self.regime.points + self.others + 1, TURNS)

    def take_over(self) -> None:
        """From here on another optimizer is watched, whose beginning was not seen: nothing of the first is kept."""
        fresh = Panel(self.facts)
        for name in _OF_AN_OPTIMIZER:
            setattr(self, name, getattr(fresh, name))
        self.loss, self.offset, self.warming, self.warmup_steps = None, False, False, 0
        self.learned = False
        self.others, self.share, self.joined = 0, 1.0, True
        self.begin("another optimizer took over", afresh=True)

    def take_loss(self, loss: float) -> None:
        """Take a loss, whatever it is."""
        usable = abs(loss) < BOUND  # false for NaN
        self.bad_loss.update(usable)
        if not usable:
            return
        self.zeros.update(loss)
        scale = self.scale
        was_affine = scale.affine
        level = scale.update(loss)
        self.loss = loss
        if scale.affine and not was_affine:
            # What was learned in log space means nothing on the affine scale.
            self.z, self.cusum, self.drawup = WinsorZ(), Cusum(), DrawUp()
            self.breakout, self.knee, self.surge = Breakout(), Knee(), Surge()
            self.ring.reset()
            self._trend_fresh = False
        if level is None:
            return
        if self.surge.active:
            self.surge.update(level)
        location = self.z.location
        z = self.z.update(level)
        if z is not None:
            if self.z_top is None or z > self.z_top:
                self.z_top, self.jump = z, level - location
            self.cusum.update(z)
            if z > 5.0 and level - location > 0.05:
                self.recovery.spiked(location + self.z.scale)
                if self.bursting and z > 6.0 and level - location > 0.1 and not scale.affine:
                    # Losses alone may have heavy tails without anything being wrong.
                    self.spikes.spiked(self.regime.points)
        self.drawup.update(level)
        if self.recovery.active:
            self.recovery.update(self.drawup.fast.mean)
        seen = self.breakout
        seen.update(level)
        if seen.count >= 3 and (self.broke_out is None or seen.low > self.broke_out):
            self.broke_out, self.broke_out_top = seen.low, seen.high
            self.broke_out_rattle = seen.rattle
        self.knee.update(level)
        step = self.step
        ln_step = math.log(step + 2.0) if step >= 0 else 0.0
        total = self.rate.total
        if self.ring.add(ln_step, math.log(total) if total > 0.0 else 0.0, level):
            self._trend_fresh = False

    def take_grad_norm(self, norm: float) -> None:
        """Take a gradient norm, whatever it is."""
        usable = abs(norm) < BOUND
        self.bad_grad.update(usable)
        if not usable:
            self.grad_zero_run = 0
            self.breakout_grad.burst()
            self._see_breakout()
            return
        self.grad_zero_run = self.grad_zero_run + 1 if norm == 0.0 else 0
        self.grad_seen = self.regime.points
        if norm <= 0.0:
            return
        level = math.log(norm)
        self.breakout_grad.update(level)
        self._see_breakout()
        self.grad_level.update(level)
        self.stale.update(norm, self.taken)
        z = self.z_grad.update(level)
        if z is not None:
            if self.zg_top is None or z > self.zg_top:
                self.zg_top = z
            self.cusum_grad.update(z)
            self.bursting = z > 3.0

    def take_batch_size(self, size: float) -> None:
        """Take the examples of a step; begins a regime where the job changed their number for good."""
        if 0.0 < size < BOUND and self.batch.update(size):
            self.begin("the batch size changed")

    def take_numerics(self, scale: float | None, norm: float | None, clipped: float | None) -> None:
        """Take the loss scale, and the gradient norm before and after clipping."""
        if scale is not None and abs(scale) < BOUND:
            self.numerics.scaled(scale)
        if norm is not None and clipped is not None and abs(norm) < BOUND and abs(clipped) < BOUND:
            self.numerics.clip(norm, clipped)

    def _see_breakout(self) -> None:
        grad = self.breakout_grad
        if grad.count >= 3 and (self.broke_out_grad is None or grad.low > self.broke_out_grad):
            self.broke_out_grad = grad.low

    def take_direction(self, cosine: float | None, update: float | None, weight: float | None) -> None:
        """Take what the probe samples every tenth step."""
        self._direction = None
        if cosine is not None and abs(cosine) < BOUND:
            self.hypergrad.update(min(max(cosine, -1.0), 1.0))
        if update is not None and weight is not None and 1.0 / BOUND < update < BOUND and 1.0 / BOUND < weight < BOUND:
            self.step_size.update(update, weight)
            self.alignment.moved(self.step, update)

    def take_promise(self, predicted: float, norm: float | None) -> None:
        """Take the first-order decrease that this row's step promised, and the norm of its gradient."""
        if not abs(predicted) < BOUND:
            return
        self._direction = None
        self.alignment.promised(self.step, predicted, norm if norm is not None and norm < BOUND else None)
        if self.drawup.count and not self.scale.affine:
            self.gain.update(self.step, self.scale.back(self.drawup.fast.mean), predicted)

    def take_validation(self, name: str, value: float) -> None:
        """Take an evaluation of one set."""
        if not abs(value) < BOUND:
            return
        found = self.sets.get(name)
        if found is None:
            if len(self.sets) >= MAX_SETS:
                return
            found = self.sets[name] = ValidationSet()
        train = self.scale.back(self.drawup.fast.mean) if self.drawup.count else None
        found.update(self.step, value, train)
        self._validation = None

    def begin(self, reason: str, afresh: bool = False, keep_best: bool = False) -> None:
        """Begin another regime here.

        Args:
            reason: why, in words.
            afresh: what is measured from the start of the job is measured from here, too.
            keep_best: the best loss so far still counts, for nothing happened that could raise what is usual.
        """
        self.regime.begin(reason, self.step)
        self.rate.begin()
        self.z.widen()
        self.z_grad.widen()
        self.cusum.reset()
        self.cusum_grad.reset()
        if not keep_best:
            self.drawup.rebase(afresh)
        self.recovery.reset()
        self.ring.reset()
        self.hypergrad.reset()
        self.step_size.reset(afresh)
        self.gain.reset()
        self.alignment.reset()
        self.judged, self.p_low, self.p_high, self.octaves = 0, None, None, None
        self._trend_fresh = False
        self._direction = None

    def checked(self, values: Mapping[str, Value]) -> None:
        """The rules have seen these values: peaks start anew, and the LR is judged again where more is known."""
        if self.hypergrad.count >= (self.judged + JUDGE_EVERY if self.judged else MIN_SAMPLES):
            self.judged = self.hypergrad.count
            self._direction = None
            judgement = judge(values)
            if judgement is None:
                self.p_low = self.p_high = self.octaves = None
            else:
                self.p_low, self.p_high, self.octaves = judgement.low, judgement.high, judgement.octaves
        self.offset = values["offset"] is True
        if not self.learned and self.z.count >= 20:
            i_lo, below = values["i_lo"], self.drawup.below_beginning / max(self.z.scale, 1e-300)
            self.learned = self.offset or below > FALLEN or (i_lo is not None and i_lo > 0.0 and below > 0.4 * FALLEN)
        self.z_top, self.zg_top, self.jump = None, None, 0.0
        self.broke_out, self.broke_out_top, self.broke_out_rattle, self.broke_out_grad = None, 0.0, None, None
        self.surge.top = 0.0

    @property
    def in_turn(self) -> bool:
        """Whether one row in twenty or more is another optimizer's."""
        return self.others >= 3 and self.share < IN_TURN

    def trend(self) -> Trend | None:
        """The trend of the regime."""
        varied = self.rate.points > 0 and self.rate.varied
        if not self._trend_fresh or varied != self._trend_varied:
            self._trend = self.ring.trend(by_lr=varied)
            self._trend_fresh, self._trend_varied = True, varied
        return self._trend

    @property
    def horizon(self) -> float:
        """Steps over which R counts: those planned, or 1,000 where there is no plan, or those already taken."""
        return float(max(self.facts.planned_steps or ASSUMED_STEPS, self.step + 1))

    def worst_set(self) -> tuple[str, ValidationSet] | None:
        """The validation set that has risen most above its best, with its name; None before any evaluation."""
        # Before the noise of a set can be told, five percent pass for one unit of it.
        judged = [(s.rise if s.rise is not None else s.last / 5.0, name, s) for name, s in self.sets.items()]
        if not judged:
            return None
        top = max(judged, key=lambda item: (item[0], item[1]))
        return top[1], top[2]

    def values(self) -> dict[str, Value]:
        """Every feature by name; None is unknown."""
        return read_out(self)

    def direction(self, horizon: float) -> dict[str, Value]:
        """What is known of the direction of steps over such a horizon; read far more often than it is sampled."""
        if self._direction is None or self._direction[0] != horizon:
            self._direction = horizon, read_direction(self, horizon)
        return self._direction[1]

    def validation(self) -> dict[str, Value]:
        """What is known of the validation set that has risen most; read far more often than evaluations come."""
        if self._validation is None:
            self._validation = read_validation(self)
        return self._validation

    def state(self) -> dict[str, Any]:
        """See `Saved.state`."""
        out = super().state()
        for name in _PARTS:
            out[name] = getattr(self, name).state()
        out["sets"] = {name: s.state() for name, s in self.sets.items()}
        return out

    def load(self, state: dict[str, Any]) -> None:
        """See `Saved.load`."""
        super().load(state)
        for name in _PARTS:
            getattr(self, name).load(state[name])
        self.sets = {}
        for name, saved in state["sets"].items():
            self.sets[name] = ValidationSet()
            self.sets[name].load(saved)
        self._trend_fresh = False
        self._validation = self._direction = None
