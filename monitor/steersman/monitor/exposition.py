"""The page of metrics in the Prometheus text format; every name is a promise made in docs/metrics.md."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import generate_latest

from steersman.monitor.ending import JobState
from steersman.monitor.meters import Meters
from steersman.monitor.view import JobView
from steersman.rules.finding import FindingState

MOST_JOBS = 1000
MOST_GROUPS = 8
MOST_SETS = 8

Sample = tuple[str, float]
"""Labels behind the job's, such as `,state="running"`, and the value."""


def escape(value: str) -> str:
    r"""A label value as the format wants it.

    >>> escape('a"b\\c')
    'a\\"b\\\\c'
    """
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _one(value: float) -> Iterator[Sample]:
    yield "", value


def _info(job: JobView) -> Iterator[Sample]:
    yield f',attempt="{job.attempt}",host="{escape(job.facts.host)}",policy="{job.policy.value}"', 1


def _state(job: JobView) -> Iterator[Sample]:
    for state in JobState:
        yield f',state="{state.value}"', float(job.state is state)


def _val_loss(job: JobView) -> Iterator[Sample]:
    for name, value in job.val_loss[:MOST_SETS]:
        yield f',set="{escape(name)}"', value


def _lr(job: JobView) -> Iterator[Sample]:
    for group, value in job.lr[:MOST_GROUPS]:
        yield f',group="{escape(group)}"', value


def _findings(job: JobView) -> Iterator[Sample]:
    for f in job.findings:
        if f.state in (FindingState.FIRING, FindingState.RESOLVED):
            labels = f',rule="{escape(f.rule)}",severity="{f.severity.value}",verdict="{escape(f.verdict)}"'
            yield labels, float(f.state is FindingState.FIRING)


def _diagnosis(job: JobView) -> Iterator[Sample]:
    if job.diagnosis is not None:
        yield f',verdict="{job.diagnosis.verdict.value}"', 1


def _confidence(job: JobView) -> Iterator[Sample]:
    if job.diagnosis is not None:
        yield "", job.diagnosis.confidence


def _recommended(job: JobView) -> Iterator[Sample]:
    if job.diagnosis is not None and job.diagnosis.recommended_lr is not None:
        yield "", job.diagnosis.recommended_lr.value


def _entered(job: JobView) -> Iterator[Sample]:
    for state, count in job.entered:
        yield f',state="{state}"', count


def _known_step(job: JobView) -> Iterator[Sample]:
    if job.step >= 0:
        yield "", job.step


def _last_sample(job: JobView) -> Iterator[Sample]:
    if job.last_sample_at:
        yield "", job.last_sample_at


FAMILIES: Sequence[tuple[str, str, str, Callable[[JobView], Iterable[Sample]]]] = (
    ("job_info", "gauge", "A job that is watched.", _info),
    ("job_state", "gauge", "1 for the state the job is in.", _state),
    ("job_step", "gauge", "Last optimizer step of the slowest rank.", _known_step),
    ("job_steps_per_second", "gauge", "Steps per second over the last minute.", lambda j: _one(j.steps_per_second)),
    ("job_loss", "gauge", "Loss, smoothed with a half-life of 8 points.", lambda j: _one(j.loss)),
    ("job_val_loss", "gauge", "Validation loss, last value.", _val_loss),
    ("job_grad_norm", "gauge", "L2 norm of the gradient before clipping.", lambda j: _one(j.grad_norm)),
    ("job_learning_rate", "gauge", "Effective learning rate of a parameter group.", _lr),
    ("job_overlay_factor", "gauge", "Factor on the job's own learning rate.", lambda j: _one(j.total_factor)),
    ("job_last_sample_timestamp_seconds", "gauge", "When the last sample was taken.", _last_sample),
    ("job_finding", "gauge", "1 while a rule fires, 0 once it has been resolved.", _findings),
    ("job_diagnosis", "gauge", "1 for the present verdict.", _diagnosis),
    ("job_diagnosis_confidence", "gauge", "Confidence of the diagnosis, 0 to 1.", _confidence),
    ("job_recommended_learning_rate", "gauge", "Recommended learning rate of the first group.", _recommended),
    ("job_adjustments_waiting", "gauge", "Adjustments that wait for a person.", lambda j: _one(j.waiting)),
    ("job_adjustments_total", "counter", "Adjustments that entered this state.", _entered),
    ("job_rows_total", "counter", "Samples stored, all ranks.", lambda j: _one(j.rows)),
    ("job_rows_lost_total", "counter", "Samples that probe or agent had to drop.", lambda j: _one(j.rows_lost)),
)
"""Name, type, help and values of every series of a job."""


class Exposition:
    """Renders by hand: for a thousand jobs that takes a tenth of the time a client library needs.

    Args:
        meters: what the daemon counts about itself.
    """

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._heads: dict[str, list[str]] = {}

    def page(self, jobs: Sequence[JobView]) -> bytes:
        """The whole page."""
        newest: dict[str, JobView] = {}
        for job in jobs:
            if job.name not in newest or newest[job.name].attempt < job.attempt:
                newest[job.name] = job
        chosen = sorted(newest.values(), key=_urgency)[:MOST_JOBS]
        heads = [self._head(job.name) for job in chosen]
        self._heads = dict(zip((job.name for job in chosen), heads, strict=True))
        lines: list[str] = []
        for at, (name, kind, text, values) in enumerate(FAMILIES):
            lines += (f"# HELP steersman_{name} {text}", f"# TYPE steersman_{name} {kind}")
            for job, head in zip(chosen, heads, strict=True):
                lines += [f"{head[at]}{labels}}} {number(v)}" for labels, v in values(job) if not math.isnan(v)]
        states = Counter(job.state for job in newest.values())
        lines += ("# HELP steersman_jobs Jobs known, by state.", "# TYPE steersman_jobs gauge")
        lines += [f'steersman_jobs{{state="{state.value}"}} {states[state]}' for state in JobState]
        lines += (
            "# HELP steersman_jobs_omitted Jobs left out of this page.",
            "# TYPE steersman_jobs_omitted gauge",
            f"steersman_jobs_omitted {len(newest) - len(chosen)}",
        )
        return ("\n".join(lines) + "\n").encode() + generate_latest(self._meters.registry)

    def _head(self, job: str) -> list[str]:
        return self._heads.get(job) or [f'steersman_{family[0]}{{job="{escape(job)}"' for family in FAMILIES]


def number(value: float) -> str:
    """A value as the format wants it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _urgency(job: JobView) -> tuple[bool, float]:
    return not any(f.state is FindingState.FIRING for f in job.findings), -job.facts.started_at
