"""How much of what a step promises comes true."""

from __future__ import annotations

from typing import ClassVar

from steersman.rules.features.saved import Saved

WINDOW = 8


class GainRatio(Saved):
    """Realised over predicted decrease of the loss: the trust-region ratio, taken over a window of 8 samples.

    Each sample brings what its step promised to first order, -<g, du>; in between the smoothed loss moved. Near 1 the
    step could be longer; near 0 each step promises much and the loss stays where it is, because the step leaves the
    region in which its gradient is worth anything (Conn, Gould, Toint, Trust Region Methods, 2000).

    >>> gain = GainRatio()
    >>> for i in range(9):
    ...     gain.update(step=10 * i, loss=5.0 - 0.1 * i, predicted=0.01)
    >>> round(gain.ratio, 2)
    1.0
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("steps", "losses", "promises")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """A new regime."""
        self.steps: list[float] = []
        self.losses: list[float] = []
        self.promises: list[float] = []
        self._read()

    def update(self, step: int, loss: float, predicted: float) -> None:
        """Take the smoothed loss at a sample and what the step that follows promises."""
        if self.steps and step <= self.steps[-1]:
            self.reset()
        self.steps.append(float(step))
        self.losses.append(loss)
        self.promises.append(predicted)
        if len(self.steps) > WINDOW:
            del self.steps[0], self.losses[0], self.promises[0]
        self._read()

    def _read(self) -> None:
        # Asked for far more often than samples come.
        n = len(self.steps)
        self.ratio: float | None = None
        """Realised over predicted; None before half a window, or where nothing was promised."""
        self.share: float | None = None
        """What a step promises as a share of the loss; None before half a window, or at a loss of 0 or below."""
        if n < WINDOW // 2 + 1:
            return
        promised = sum(self.promises[:-1]) / (n - 1) * (self.steps[-1] - self.steps[0])
        if promised > 0.0:
            self.ratio = (self.losses[0] - self.losses[-1]) / promised
        level = sum(self.losses) / n
        if level > 0.0:
            self.share = sum(self.promises) / n / level

    def promise(self, steps: float) -> float | None:
        """What so many steps would promise, as a share of the loss; None where that of one is unknown."""
        return None if self.share is None else self.share * steps

    def load(self, state: dict[str, object]) -> None:
        """See `Saved.load`."""
        super().load(state)
        self._read()
