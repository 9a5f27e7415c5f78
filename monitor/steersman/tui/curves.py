"""The three charts of a job: which series they need, what has been fetched, what is marked on them."""

from __future__ import annotations

from collections.abc import Sequence

from steersman.cli import views
from steersman.cli.chart import Chart, Curve, Mark
from steersman.tui.board import lr_series, val_series
from steersman.tui.feed import Feed
from steersman.tui.history import History
from steersman.tui.palette import GOOD, GRADIENT, LR, NOTICE, OWN_LR, SEVERITY_COLOURS, SEVERITY_SIGNS, TRAIN, VAL


class JobCurves:
    """The curves of one attempt of a job; `refresh` fetches only what is new.

    Args:
        job: its name.
        attempt_id: which attempt these curves are of.
        columns: dot columns of the widest chart.
    """

    def __init__(self, job: str, attempt_id: str, columns: int) -> None:
        self.job = job
        self.attempt_id = attempt_id
        self.columns = columns
        self._histories: dict[str, History] = {}
        self._names: tuple[str, ...] = ()

    async def refresh(self, feed: Feed) -> None:
        """Fetches what is new. Raises `FeedError`."""
        self._names = await feed.series_names(self.job)
        for name in self._wanted():
            history = self._histories.setdefault(name, History(self.columns))
            # two points a dot column, least and greatest, is all that can be seen
            history.extend(await feed.series(self.job, name, 2 * self.columns, history.next_step))

    def _wanted(self) -> list[str]:
        names = [name for name in ("loss", "grad_norm") if name in self._names]
        return names + [name for name in (val_series(self._names), *lr_series(self._names)) if name is not None]

    def _curve(self, series: str | None, name: str, style: str) -> tuple[Curve, ...]:
        history = None if series is None else self._histories.get(series)
        return () if history is None else (Curve(name, history.steps, history.values, style),)

    def loss(self, marks: Sequence[Mark], log: bool) -> Chart:
        """Training loss, and validation loss on top where there is one."""
        curves = self._curve("loss", "train", TRAIN) + self._curve(val_series(self._names), "val", VAL)
        return Chart("loss", curves, tuple(marks), log, empty="no loss yet")

    def gradient(self, marks: Sequence[Mark], log: bool) -> Chart:
        """Norm of the gradient."""
        return Chart(
            "gradient norm", self._curve("grad_norm", "", GRADIENT), tuple(marks), log, empty="no gradient norm yet"
        )

    def learning_rate(self, marks: Sequence[Mark], log: bool) -> Chart:
        """The learning rate in force, on top of the job's own where an overlay parts them."""
        effective, own = lr_series(self._names)
        curves = self._curve(own, "own", OWN_LR) + self._curve(effective, "in force", LR)
        return Chart("LR", curves, tuple(marks), log, from_zero=True, empty="no learning rate yet")


def marks(job: views.Job, adjustments: Sequence[views.Adjustment]) -> tuple[Mark, ...]:
    """What happened on the time axis: findings that fired, and adjustments that were laid on."""
    result = [
        Mark(f.first_step, SEVERITY_SIGNS.get(f.severity, "▲"), SEVERITY_COLOURS.get(f.severity, NOTICE))
        for f in sorted(job.findings, key=lambda f: views.severity_rank(f.severity))
        if f.first_step is not None and f.state in ("firing", "resolved")
    ]
    before = 1.0
    for a in adjustments:
        if a.applied_step is None or a.attempt_id != job.attempt_id:
            continue
        total = a.total_factor or 1.0
        sign = "↓" if total < before else "↑"
        result.append(Mark(a.applied_step, sign, f"bold {GOOD}", line=True))
        before = total
    return tuple(result)
