"""The features of a job, as rules name them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steersman.rules.features.panel import Panel
    from steersman.rules.features.trend import Trend

Value = float | bool | None

# What is unknown together is put down together.
_NO_TREND: dict[str, Value] = dict.fromkeys(("i", "i_lo", "i_up", "span", "mk"))
_NO_DIRECTION: dict[str, Value] = dict.fromkeys(
    ("n_c", "c", "t_c", "c_own", "r", "r_top", "R", "R_assumed", "p_low", "p_high", "octaves", "travel", "pace")
)
_NO_RATE: dict[str, Value] = dict.fromkeys(
    ("lr", "lr_share", "lr_zero_share", "lr_zero_run", "warmup", "decaying", "lr_peak", "warmup_ratio")
)
_NO_SURGE: dict[str, Value] = dict.fromkeys(("lr_surge", "surge_points", "surge_top", "surge_stands", "surge_noise"))
_NO_VALIDATION: dict[str, Value] = dict.fromkeys(
    ("v_up", "v_gain", "gap", "gap_rise", "evals", "evals_since_best", "v_last")
)


def read_out(panel: Panel) -> dict[str, Value]:
    """Every feature by name; None is unknown."""
    regime, drawup, z = panel.regime, panel.drawup, panel.z
    bad_loss, bad_grad = panel.bad_loss, panel.bad_grad
    affine = panel.scale.affine
    seen = drawup.count > 0
    relative = seen and not affine
    begun = relative and not panel.joined
    fast, best, first = drawup.fast.mean, drawup.best, drawup.first
    trend = panel.trend()
    out: dict[str, Value] = {
        "step": float(panel.step),
        "points": float(regime.points),
        "since_regime": float(regime.since),
        "blanked": regime.since < regime.blank,
        "adjusted": float(panel.adjusted),
        "joined": panel.joined,
        "in_turn": panel.in_turn,
        "loss": panel.loss,
        "loss_smooth": panel.scale.back(fast) if seen else None,
        "z_loss": panel.z_top,
        "jump": panel.jump if panel.z_top is not None and not affine else None,
        "z_gnorm": panel.zg_top,
        "cusum": panel.cusum.sum if seen else None,
        "cusum_gnorm": panel.cusum_grad.sum if panel.z_grad.count else None,
        "up": fast - best if relative else None,
        "above_start": fast - first if begun else None,
        "overshoot": drawup.top - first if begun else None,
        "fell": first - best if relative else None,
        "affine_up": fast - best if seen and affine else None,
        "noise": z.scale if z.count >= 20 else None,
        "nonfinite_loss": float(bad_loss.run) if bad_loss.points else None,
        "nonfinite_loss_recent": float(len(bad_loss.where)) if bad_loss.points else None,
        "nonfinite_gnorm": float(bad_grad.run) if bad_grad.points else None,
        "nonfinite_gnorm_recent": float(len(bad_grad.where)) if bad_grad.points else None,
        "gnorm_noise": panel.z_grad.scale if panel.z_grad.count >= 20 else None,
        "rho": panel.gain.ratio if panel.gain.steps else None,
        "promise": panel.gain.promise(panel.horizon) if panel.gain.steps else None,
        "offset": relative and _offset(panel, trend),
    }
    _put_levels(panel, out, relative)
    if trend is None:
        out.update(_NO_TREND)
    else:
        slope, reach = -trend.slope, 1.645 * trend.error
        out["i"], out["i_lo"], out["i_up"] = (None, None, None) if affine else (slope, slope - reach, slope + reach)
        out["span"], out["mk"] = trend.span, trend.mann_kendall
    _put_direction(panel, out)
    _put_rate(panel, out)
    out.update(panel.validation())
    return out


def _offset(panel: Panel, trend: Trend | None) -> bool:
    # A loss with a large constant in it: that it falls is beyond doubt, and it falls by next to nothing of its
    # level. One that is stuck from the start falls as little, but nobody could tell.
    seen = panel.drawup
    down = -seen.above_start
    known = panel.offset  # what was known is not doubted for a hair's breadth
    if not 0.0 < down < (0.2 if known else 0.1) or seen.overshoot > 4.0 * down:
        return False
    # Only from the job's own first loss on: what it was when we came, or laid a hand on it, is another matter.
    falls = 0.0 if trend is None or not -0.05 < trend.slope < 0.0 else -trend.slope / max(trend.error, 1e-300)
    if panel.z.count >= 20 and not panel.joined and not panel.adjusted:
        # A first loss that was high by chance is not enough, one in six is by one standard deviation: the mean of the
        # first losses must be high as well, as that of one in a thousand is by three quarters.
        noise = max(panel.z.scale, 1e-300)
        down, far = down / noise, (seen.began - seen.fast.mean) / noise
        if (down > 2.5 and far > 0.75) or (down > 1.0 and far > 0.75 and falls > 2.0):
            return True
        if known and down > 0.5 and far > 0.3:
            return True
    return falls > 8.0


def _put_levels(panel: Panel, out: dict[str, Value], relative: bool) -> None:
    knee, zeros, numerics = panel.knee, panel.zeros, panel.numerics
    if relative:
        out["breakout"] = panel.broke_out
        out["breakout_top"] = panel.broke_out_top if panel.broke_out is not None else None
        out["breakout_gnorm"] = panel.broke_out_grad
        out["rattle"] = panel.broke_out_rattle
        out["knee"] = None if panel.joined else knee.ratio
        out["loss_first"] = panel.scale.back(knee.first) if knee.count and not panel.joined else None
    else:
        out["breakout"] = out["breakout_top"] = out["rattle"] = None
        out["breakout_gnorm"] = panel.broke_out_grad
        out["knee"] = out["loss_first"] = None
    surge = panel.surge
    if surge.active:
        out["lr_surge"], out["surge_points"] = panel.rate.now / surge.peak, float(surge.since)
        out["surge_top"], out["surge_stands"], out["surge_noise"] = surge.top, surge.stands, surge.noise
    else:
        out.update(_NO_SURGE)
    out["loss_zero_run"] = float(zeros.run)
    out["loss_zeros_earlier"] = float(zeros.earlier)
    out["gnorm_zero_run"] = float(panel.grad_zero_run) if panel.regime.points - panel.grad_seen < 20 else None
    out["loss_before_zero"] = zeros.before
    out["spikes_recent"] = float(panel.spikes.recent(panel.regime.points)) if panel.z_grad.count >= 20 else None
    out["unrecovered"] = float(panel.recovery.since) if panel.z.count >= 20 else None
    out["scale_halvings"] = float(numerics.halvings) if numerics.points else None
    out["clip_share"] = numerics.clipped.mean if numerics.clipped.count >= 20 else None
    level, stale = panel.grad_level, panel.stale
    if level.count >= 20:
        out["stale"], out["drought"], out["gnorm_change"] = stale.ratio, float(stale.was_dry), level.change
    else:
        out["stale"] = out["drought"] = out["gnorm_change"] = None


def _put_direction(panel: Panel, out: dict[str, Value]) -> None:
    planned, horizon = panel.facts.planned_steps, panel.horizon
    out["horizon"] = horizon
    out["progress"] = min((panel.step + 1) / planned, 1.0) if planned > 0 else None
    if not panel.hypergrad.count and not panel.step_size.count:
        out.update(_NO_DIRECTION)
        return
    out.update(panel.direction(horizon))
    travel = out["travel"]
    out["pace"] = travel * math.sqrt(horizon / max(panel.step + 1, 1)) if travel is not None else None


def read_direction(panel: Panel, horizon: float) -> dict[str, Value]:
    """What is known of the direction and the length of steps, but for what changes with every step."""
    cosine, size, own = panel.hypergrad, panel.step_size, panel.alignment.mean
    count, moved = cosine.count, size.count > 0
    reach = size.over(horizon) if moved else None
    return {
        "n_c": float(count) if count else None,
        "c": cosine.mean if count >= 3 else None,
        "t_c": cosine.t if count >= 3 else None,
        "c_own": own.mean if own.count >= 3 else None,
        "r": size.ratio if moved else None,
        "r_top": math.exp(size.ln_top) if moved else None,
        "R": reach if panel.facts.planned_steps > 0 else None,
        "R_assumed": reach,
        "p_low": panel.p_low,
        "p_high": panel.p_high,
        "octaves": panel.octaves,
        "travel": size.travel if moved and not panel.joined else None,
    }


def _put_rate(panel: Panel, out: dict[str, Value]) -> None:
    rate = panel.rate
    points, now, peak = rate.points, rate.now, rate.peak
    if not points:
        out.update(_NO_RATE)
        return
    warming = rate.warming
    out["lr"] = now
    out["lr_share"] = now / peak if peak > 0.0 else None
    out["lr_zero_share"] = rate.zeros / points
    out["lr_zero_run"] = float(rate.zero_run)
    out["warmup"] = warming
    out["decaying"] = rate.decaying
    out["lr_peak"] = peak
    if points < 2:
        out["warmup_ratio"] = None
    elif warming:
        out["warmup_ratio"] = 1.0
    else:
        out["warmup_ratio"] = (panel.step + 1) / panel.warmup_steps if panel.warmup_steps > 0 else None


def read_validation(panel: Panel) -> dict[str, Value]:
    """What is known of the validation set that has risen most."""
    worst = panel.worst_set()
    if worst is None:
        return _NO_VALIDATION
    found = worst[1]
    rise = found.rise
    return {
        "v_up": rise,
        "v_gain": 100.0 * found.gain / abs(found.best) if rise is not None and found.best else None,
        "gap": found.gap,
        "gap_rise": found.gap_rise,
        "v_last": found.last,
        "evals": float(found.count),
        "evals_since_best": float(found.since_best),
    }
