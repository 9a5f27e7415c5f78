"""What others would have said of a run: their published formulas with their published defaults, in our own code.

Each takes the loss and gradient norm of every step, or of every tenth where the original is called that often, and
returns the steps at which it alarms. Sources are named at each.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """A run as a detector sees it."""

    loss: Floats
    grad_norm: Floats
    lr: Floats
    val_step: npt.NDArray[np.int64]
    val_loss: Floats


Detector = Callable[[Run], Iterator[int]]


def trainproof_diverge(run: Run) -> Iterator[int]:
    """From trainproof 0.18: not finite, or the last loss above 1.5 times the least; looked at every 25 steps."""
    for step in range(24, len(run.loss), 25):
        seen = run.loss[: step + 1]
        if not np.isfinite(seen).all() or seen[-1] > 1.5 * seen.min():
            yield step


def trainproof_dead(run: Run) -> Iterator[int]:
    """From trainproof 0.18: median of the last five >= 0.95 x median of the first five, or std / mean below 0.001."""
    for step in range(24, len(run.loss), 25):
        seen = run.loss[: step + 1]
        if np.isfinite(seen).all() and (
            np.median(seen[-5:]) >= 0.95 * np.median(seen[:5]) or seen.std() < 0.001 * abs(seen.mean())
        ):
            yield step


def trainproof_gradient(run: Run) -> Iterator[int]:
    """From trainproof 0.18: any gradient norm above ten times the median, from six points on; every 25 steps."""
    for step in range(24, len(run.loss), 25):
        seen = run.grad_norm[: step + 1]
        if seen[-25:].max() > 10.0 * np.median(seen):
            yield step


def hotcb_divergence(run: Run) -> Iterator[int]:
    """From hotcb, guidelines/default.yaml: the loss rose by more than 0.3 within 5 points (cooldown 30)."""
    return _spaced((t for t in range(5, len(run.loss)) if run.loss[t] - run.loss[t - 5] > 0.3), 30)


def hotcb_plateau(run: Run) -> Iterator[int]:
    """From hotcb: the range of the loss over 20 points is at most 0.005 (cooldown 40)."""
    return _spaced((t for t in range(20, len(run.loss)) if np.ptp(run.loss[t - 19 : t + 1]) <= 0.005), 40)


def hotcb_gradient(run: Run) -> Iterator[int]:
    """From hotcb: gradient norm above 10 (cooldown 20)."""
    return _spaced((int(t) for t in np.flatnonzero(run.grad_norm > 10.0)), 20)


def lightning_spike(run: Run) -> Iterator[int]:
    """Lightning's SpikeDetection: |loss - mean of ten| >= 2 x that mean and rising, or not finite."""
    last: deque[float] = deque(maxlen=10)
    for step, loss in enumerate(run.loss):
        if not math.isfinite(loss):
            yield step
            continue
        if last:
            mean = sum(last) / len(last)
            if abs(loss - mean) >= 2.0 * mean and loss > last[-1]:
                yield step
        last.append(float(loss))


def llmfoundry_spike(run: Run) -> Iterator[int]:
    """llm-foundry's KillLossSpike.

    The loss is at least twice the mean of a window of max(100, 5 %) for more than four batches, or, after two windows,
    half of a window is above min(max of the first window, 10).
    """
    width = max(100, len(run.loss) // 20)
    over = 0
    cap = min(float(np.max(run.loss[:width])), 10.0)
    for step in range(width, len(run.loss)):
        window = run.loss[step - width : step]
        over = over + 1 if run.loss[step] >= 2.0 * window.mean() else 0
        if over > 4 or (step >= 2 * width and (window > cap).mean() >= 0.5):
            yield step
            over = 0


def six_sigma(run: Run) -> Iterator[int]:
    """Levanter's and OLMo-core's step skipper: loss or norm above mean + 6 sd of the last 128, from 64 points on."""
    found = {step for series in (run.loss, run.grad_norm) for step in _sigma(series, 128, 64, 6.0)}
    yield from sorted(found)


def seven_sigma(run: Run) -> Iterator[int]:
    """OLMo's spike score: 7 sd above the mean of the last 1,000."""
    return _sigma(run.loss, 1000, 50, 7.0)


def zclip(run: Run) -> Iterator[int]:
    """ZClip (2504.02507): gradient norm beyond z = 2.5 of an exponential mean, alpha .97, 25 steps of warm-up.

    It clips there and was never meant as an alarm.
    """
    mean = variance = 0.0
    first = run.grad_norm[:25]
    mean, variance = float(first.mean()), float(first.var())
    for step in range(25, len(run.grad_norm)):
        norm = float(run.grad_norm[step])
        if not math.isfinite(norm):
            yield step
            continue
        sd = math.sqrt(variance)
        z = (norm - mean) / sd if sd > 0 else 0.0
        if z > 2.5:
            yield step
            norm = mean + 2.5 * 2.5 / z * sd
        mean = 0.97 * mean + 0.03 * norm
        variance = 0.97 * variance + 0.03 * (norm - mean) ** 2


def sagemaker_not_decreasing(run: Run) -> Iterator[int]:
    """SageMaker Debugger's LossNotDecreasing: not lower than ten steps ago, looked at every ten."""
    return (t for t in range(10, len(run.loss), 10) if not run.loss[t] < run.loss[t - 10])


def sagemaker_exploding(run: Run) -> Iterator[int]:
    """SageMaker Debugger's ExplodingTensor: anything that is not finite."""
    return (int(t) for t in np.flatnonzero(~(np.isfinite(run.loss) & np.isfinite(run.grad_norm))))


def sagemaker_overfit(run: Run) -> Iterator[int]:
    """SageMaker Debugger's Overfit: validation more than a tenth above training."""
    for step, value in zip(run.val_step, run.val_loss, strict=True):
        train = run.loss[max(step - 25, 0) : step].mean() if step else math.nan
        if (value - train) / train > 0.1:
            yield int(step)


def plateau_steps(run: Run) -> Iterator[int]:
    """ReduceLROnPlateau of torch with its defaults, called with the loss of every step."""
    return _plateau(run.loss, range(len(run.loss)))


def plateau_means(run: Run) -> Iterator[int]:
    """The same, called with the mean training loss of every 25 steps."""
    means = run.loss[: len(run.loss) // 25 * 25].reshape(-1, 25).mean(1)
    return _plateau(means, range(24, len(run.loss), 25))


def plateau_validation(run: Run) -> Iterator[int]:
    """The same, called with each validation loss."""
    return _plateau(run.val_loss, [int(s) for s in run.val_step])


def page_hinkley(run: Run) -> Iterator[int]:
    """PageHinkley of river with its defaults on the loss: 30 values, delta .005, threshold 50, alpha .9999, upwards."""
    mean, total, least, n = 0.0, 0.0, 0.0, 0
    for step, loss in enumerate(run.loss):
        x = float(loss) if math.isfinite(loss) else 1e6
        n += 1
        mean += (x - mean) / n
        total = 0.9999 * total + (x - mean - 0.005)
        least = min(least, total)
        if n >= 30 and total - least > 50.0:
            yield step
            mean, total, least, n = 0.0, 0.0, 0.0, 0


def adwin(run: Run) -> Iterator[int]:
    """ADWIN (Bifet and Gavaldà 2007) as river has it: delta .002, tested every 32 values, upward changes alone.

    Cuts are tried at every value of the window rather than between buckets of an exponential histogram: the same test
    with a little more power.
    """
    window: list[float] = []
    for step, loss in enumerate(run.loss):
        window.append(float(loss) if math.isfinite(loss) else 1e6)
        if step % 32 != 31 or len(window) < 10:
            continue
        cut = _adwin_cut(np.asarray(window), 0.002)
        if cut:
            up = np.mean(window[cut:]) > np.mean(window[:cut])
            window = window[cut:]
            if up:
                yield step


def _adwin_cut(x: Floats, delta: float) -> int:
    """The last place at which the two sides differ by more than chance would have it; 0 where there is none."""
    n = len(x)
    left = np.arange(5, n - 4)
    sums = np.cumsum(x)
    mean_left = sums[left - 1] / left
    mean_right = (sums[-1] - sums[left - 1]) / (n - left)
    m = 1.0 / (1.0 / (left - 4.0) + 1.0 / (n - left - 4.0))
    bound = math.log(2.0 * math.log(n) / delta)
    limit = np.sqrt(2.0 / m * x.var() * bound) + 2.0 / (3.0 * m) * bound
    found = np.flatnonzero(np.abs(mean_left - mean_right) > limit)
    return int(left[found[-1]]) if len(found) else 0


def _spaced(steps: Iterator[int], cooldown: int) -> Iterator[int]:
    last = -cooldown
    for step in steps:
        if step - last >= cooldown:
            last = step
            yield step


def _sigma(series: Floats, width: int, least: int, z: float) -> Iterator[int]:
    for step in range(least, len(series)):
        window = series[max(0, step - width) : step]
        if not math.isfinite(series[step]) or series[step] > window.mean() + z * window.std():
            yield step


def _plateau(values: Floats, steps: range | list[int]) -> Iterator[int]:
    """With factor .1, patience 10, threshold 1e-4 relative, no cooldown: yields where it would cut."""
    best, bad = math.inf, 0
    for step, value in zip(steps, values, strict=False):
        if value < best * (1.0 - 1e-4):
            best, bad = float(value), 0
        else:
            bad += 1
        if bad > 10:
            yield step
            bad = 0


SPIKES: dict[str, Detector] = {
    "Levanter / OLMo-core 6 sd, 128": six_sigma,
    "OLMo 7 sd, 1,000": seven_sigma,
    "Lightning SpikeDetection": lightning_spike,
    "llm-foundry KillLossSpike": llmfoundry_spike,
    "trainproof DIVERGE": trainproof_diverge,
    "trainproof gradient spike": trainproof_gradient,
    "hotcb divergence": hotcb_divergence,
    "hotcb grad_norm > 10": hotcb_gradient,
    "ZClip z > 2.5 (clips, does not alarm)": zclip,
    "Page-Hinkley, river's defaults": page_hinkley,
    "ADWIN, river's defaults, upwards": adwin,
    "SageMaker ExplodingTensor": sagemaker_exploding,
}
FLAT: dict[str, Detector] = {
    "ReduceLROnPlateau, every step": plateau_steps,
    "ReduceLROnPlateau, means of 25": plateau_means,
    "ReduceLROnPlateau, validation": plateau_validation,
    "trainproof DEAD-RUN": trainproof_dead,
    "hotcb plateau": hotcb_plateau,
    "SageMaker LossNotDecreasing": sagemaker_not_decreasing,
}
