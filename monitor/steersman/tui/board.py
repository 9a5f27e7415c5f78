"""The latest state of all jobs: a screen that opens later has missed the updates, the board has not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steersman.cli import views
from steersman.tui.feed import Connected, JobUpdate, Lost, Ready, Update

SORTS = ("attention", "name", "newest", "loss")
"""Orders of the job table, as its key cycles through them."""


@dataclass(frozen=True)
class Counts:
    """The numbers on top of the overview."""

    live: int
    ended: int
    critical: int
    warning: int
    waiting: int


@dataclass(frozen=True)
class Alert:
    """Something that asks for attention: a finding that fires or builds up, or an adjustment that waits."""

    job: views.Job
    finding: views.Finding | None = None
    adjustment: views.Adjustment | None = None


class Board:
    """What the feed has said so far."""

    def __init__(self) -> None:
        self.daemon: views.Daemon | None = None
        self.lost: Lost | None = None
        self.ready = False
        self._jobs: dict[str, JobUpdate] = {}
        self._seen: set[str] | None = None

    @property
    def connected(self) -> bool:
        """Whether what the board shows is the present."""
        return self.daemon is not None and self.lost is None

    def apply(self, update: Update) -> None:
        """Takes one update in."""
        match update:
            case Connected(daemon):
                self.daemon, self.lost, self._seen = daemon, None, set()
            case JobUpdate(job, _):
                known = self._jobs.get(job.name)
                if known is None or job.attempt >= known.job.attempt:
                    self._jobs[job.name] = update
                if self._seen is not None:
                    self._seen.add(job.name)
            case Ready():
                if self._seen is not None:
                    # what the daemon no longer knows has gone while it was away
                    self._jobs = {name: known for name, known in self._jobs.items() if name in self._seen}
                self.ready, self._seen = True, None
            case Lost():
                self.lost, self._seen = update, None

    def job(self, name: str) -> views.Job | None:
        """One job; None where it is not known."""
        known = self._jobs.get(name)
        return None if known is None else known.job

    def adjustments(self, name: str) -> tuple[views.Adjustment, ...]:
        """The adjustments of one job, newest last."""
        known = self._jobs.get(name)
        return () if known is None else known.adjustments

    def jobs(self, sort: str = "attention") -> list[views.Job]:
        """All jobs in one of the orders of `SORTS`."""
        jobs = [known.job for known in self._jobs.values()]
        jobs.sort(key=lambda job: job.name)
        if sort == "attention":
            jobs.sort(key=lambda job: -(job.started_at or 0.0))
            jobs.sort(key=_attention)
        elif sort == "newest":
            jobs.sort(key=lambda job: -(job.started_at or 0.0))
        elif sort == "loss":
            jobs.sort(key=lambda job: (job.loss is None, -(job.loss or 0.0)))
        return jobs

    def counts(self) -> Counts:
        """How many jobs there are of each sort that matters."""
        jobs = [known.job for known in self._jobs.values()]
        live = [job for job in jobs if job.live]
        return Counts(
            live=len(live),
            ended=len(jobs) - len(live),
            critical=sum(job.severity == "critical" for job in live),
            warning=sum(job.severity == "warning" for job in live),
            waiting=sum(job.waiting_adjustments for job in live),
        )

    def waiting(self) -> list[views.Adjustment]:
        """The adjustments that wait for a decision, the oldest first."""
        waiting = [a for known in self._jobs.values() if known.job.live for a in known.adjustments if a.waiting]
        return sorted(waiting, key=lambda a: a.created_at or 0.0)

    def alerts(self) -> list[Alert]:
        """What asks for attention: decisions first, then what fires, the loudest first, then what builds up."""
        alerts: list[tuple[tuple[int, int, float], Alert]] = []
        for known in self._jobs.values():
            if not known.job.live:
                continue
            alerts += [
                ((0, 0, a.created_at or 0.0), Alert(known.job, adjustment=a)) for a in known.adjustments if a.waiting
            ]
            for finding in known.job.findings:
                if finding.state in ("firing", "pending"):
                    place = (
                        1 if finding.state == "firing" else 2,
                        -views.severity_rank(finding.severity),
                        finding.since or 0.0,
                    )
                    alerts.append((place, Alert(known.job, finding=finding)))
        return [alert for _, alert in sorted(alerts, key=lambda item: item[0])]


def _attention(job: views.Job) -> tuple[bool, bool, int]:
    return (not job.live, not job.waiting_adjustments, -views.severity_rank(job.severity))


def lr_series(names: Sequence[str]) -> tuple[str | None, str | None]:
    """The series of the first group's learning rate, in force and the job's own; None where there is none.

    Example:
        >>> lr_series(["loss", "lr/0", "lr/1", "own_lr/0"])
        ('lr/0', 'own_lr/0')
    """
    return (
        next((name for name in names if name.startswith("lr/")), None),
        next((name for name in names if name.startswith("own_lr/")), None),
    )


def val_series(names: Sequence[str]) -> str | None:
    """The series of the validation loss; None where there is none."""
    return next((name for name in names if name == "val_loss" or name.startswith("val_loss/")), None)
