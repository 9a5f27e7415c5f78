"""Scripted days at the helm: what a feed would have said, without a daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from steersman.cli import views
from steersman.tui.feed import Connected, FeedError, JobUpdate, Lost, Points, Ready, Update

NOW = 1_760_000_000.0
DAEMON = views.Daemon("0.1.0", 1, 1, "daemon-1", NOW - 7200, "sqlite:///steersman.db", "127.0.0.1:9461", 14)
ADDRESS = "127.0.0.1:7461"


@dataclass
class ScriptedFeed:
    """Says what it is told, when it is told; remembers what was decided."""

    script: Sequence[Update]
    curves: Mapping[tuple[str, str], Points] = field(default_factory=dict)
    events: Mapping[str, tuple[views.Event, ...]] = field(default_factory=dict)
    ended: Sequence[views.Job] = ()
    """Jobs that are not told of by themselves."""
    refusal: str = ""
    decided: list[tuple[str, str]] = field(default_factory=list)
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    more: asyncio.Queue[Update] = field(default_factory=asyncio.Queue)

    async def updates(self) -> AsyncIterator[Update]:
        for update in self.script:
            yield update
        while True:
            yield await self.more.get()

    def _job(self, name: str) -> JobUpdate:
        for update in reversed(self.script):
            if isinstance(update, JobUpdate) and update.job.name == name:
                return update
        raise FeedError(f"there is no job {name}")

    async def detail(self, job: str) -> views.JobDetail:
        if old := [known for known in self.ended if known.name == job]:
            return views.JobDetail(old[0])
        known = self._job(job)
        return views.JobDetail(known.job, known.adjustments, self.events.get(job, ()))

    async def series_names(self, job: str) -> tuple[str, ...]:
        return tuple(series for name, series in self.curves if name == job)

    async def series(self, job: str, name: str, resolution: int, from_step: int) -> Points:
        self.asked.append((job, name, from_step))
        points = self.curves[job, name]
        new = points.steps >= from_step
        return Points(points.steps[new], points.values[new])

    async def decide(self, verb: str, adjustment_id: str) -> views.Adjustment:
        if self.refusal:
            raise FeedError(self.refusal)
        self.decided.append((verb, adjustment_id))
        for update in self.script:
            if isinstance(update, JobUpdate):
                for adjustment in update.adjustments:
                    if adjustment.id == adjustment_id:
                        state = {"approve": "approved", "reject": "refused", "revert": "reverted"}[verb]
                        return replace(adjustment, state=state)
        raise FeedError(f"there is no adjustment {adjustment_id}")


def job(name: str, **changes: object) -> views.Job:
    """A healthy running job, changed as asked."""
    base = views.Job(
        name=name,
        attempt_id=f"attempt-of-{name}",
        attempt=1,
        state="running",
        policy="observe",
        limits=views.Limits(),
        host="node-07",
        user="ada",
        command="python train.py --preset small",
        world_size=1,
        ranks_seen=1,
        started_at=NOW - 1800,
        ended_at=None,
        exit_code=None,
        signal=None,
        end_message="",
        step=2480,
        last_sample_at=NOW - 1,
        loss=1.482,
        grad_norm=0.71,
        lr=3e-4,
        own_lr=None,
        val_loss=None,
        steps_per_second=7.9,
        total_factor=1.0,
        diagnosis=views.Diagnosis("healthy", 0.93, None, 2480, NOW, "healthy"),
        findings=(),
        rows=2481,
        rows_lost=0,
        waiting_adjustments=0,
        planned_steps=None,
        recent_loss=tuple(1.4 + 1.8 * 0.93**i for i in range(40)),
        way_in="run",
        agent_connected=True,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # the fields are those of Job


HOT_DIAGNOSIS = views.Diagnosis(
    verdict="lr_too_high",
    confidence=0.94,
    onset_step=412,
    at_step=1480,
    time=NOW,
    headline="learning rate too high",
    evidence_for=(
        "the hypergradient cosine is −0.31 over 40 readings: successive steps undo each other",
        "the loss bounces 4.2 times as far as its noise explains, and has not improved for 180 steps",
        "the gradient norm has grown ×3.8 since step 412",
    ),
    evidence_against=("the loss is still below where it was at step 100",),
    would_refute="the loss settles at the present learning rate for 200 steps",
    recommended_lr=views.RecommendedLR(0.0026, 0.0017, 0.0039),
    prescription=views.Prescription(
        "scale",
        0.25,
        50,
        "a quarter of the LR ends the oscillation",
        "slower progress",
        views.ExpectedEffect(-0.47, -1.75, 0.05, 50),
    ),
    lr_is_the_lever=True,
    rules=("LearningRateTooHigh", "LossOscillates"),
)

FINDINGS = (
    views.Finding(
        "LearningRateTooHigh",
        "firing",
        "critical",
        "lr_too_high",
        436,
        1480,
        "successive steps undo each other: hypergradient cosine −0.31, expected above −0.05",
        (views.Evidence("hypergrad_cos_mean", -0.31, -0.05, "hypergradient cosine −0.31 < −0.05"),),
        NOW - 300,
    ),
    views.Finding(
        "LossOscillates",
        "firing",
        "warning",
        "lr_too_high",
        502,
        1480,
        "the loss bounces 4.2 times as far as its noise explains",
        (),
        NOW - 280,
    ),
    views.Finding("Plateau", "pending", "info", "plateau", None, 1480, "no gain for 180 steps", (), NOW - 60),
)


def noisy(seed: int, values: np.ndarray, scale: float) -> np.ndarray:
    """`values` with a fixed, multiplicative noise."""
    return values * np.exp(np.random.default_rng(seed).normal(0.0, scale, len(values)))


def hot_curves(name: str, steps: int, cut: int | None) -> dict[tuple[str, str], Points]:
    """A job that oscillates from step 412 on and, where `cut` is given, calms down behind it."""
    s = np.arange(steps, dtype=np.int64)
    calm = 1.75 + 2.4 * np.exp(-s / 260.0)
    hot = np.clip((s - 380) / 120.0, 0.0, 1.0)
    if cut is not None:
        hot *= np.where(s < cut, 1.0, np.exp(-(s - cut) / 60.0))
    rng = np.random.default_rng(7)
    bounce = np.abs(rng.normal(0.0, 1.0, steps)) * 0.55 * hot
    drift = 0.9 * hot
    loss = noisy(1, calm + drift + bounce, 0.012)
    if cut is not None:
        loss -= np.where(s > cut, 0.42 * (1 - np.exp(-(s - cut) / 240.0)), 0.0)
    grad = noisy(2, 0.9 + 2.6 * hot + 0.4 * np.exp(-s / 90.0), 0.16)
    own = 0.0105 * np.minimum(1.0, (s + 1) / 60.0) * (0.5 * (1 + np.cos(np.pi * s / 4000)))
    factor = np.ones(steps)
    curves: dict[tuple[str, str], Points] = {}
    if cut is not None:
        factor = np.where(s < cut, 1.0, np.exp(np.log(0.25) * np.clip((s - cut) / 50.0, 0.0, 1.0)))
        curves[name, "own_lr/0"] = Points(s[cut:], own[cut:])
    every = s[99::100]
    curves |= {
        (name, "loss"): Points(s, loss),
        (name, "grad_norm"): Points(s, grad),
        (name, "lr/0"): Points(s, own * factor),
        (name, "val_loss"): Points(
            every,
            noisy(3, (calm + drift)[99::100] * 1.06, 0.01)
            - (0.0 if cut is None else np.where(every > cut, 0.4 * (1 - np.exp(-(every - cut) / 240.0)), 0.0)),
        ),
    }
    return curves


def calm_curves(name: str, steps: int, seed: int) -> dict[tuple[str, str], Points]:
    """A healthy job."""
    s = np.arange(steps, dtype=np.int64)
    return {
        (name, "loss"): Points(s, noisy(seed, 1.4 + 2.2 * np.exp(-s / 500.0), 0.02)),
        (name, "grad_norm"): Points(s, noisy(seed + 1, 0.7 + 0.9 * np.exp(-s / 300.0), 0.12)),
        (name, "lr/0"): Points(s, np.full(steps, 3e-4)),
    }


def recent(curves: Mapping[tuple[str, str], Points], name: str) -> tuple[float, ...]:
    """Forty points of the loss, smoothed, for the little picture."""
    values = curves[name, "loss"].values
    return tuple(float(part.mean()) for part in np.array_split(values, 40))


def proposal(name: str, **changes: object) -> views.Adjustment:
    """An adjustment that waits for a decision, changed as asked."""
    base = views.Adjustment(
        id="adj-7f3a2c",
        job=name,
        attempt_id=f"attempt-of-{name}",
        kind="scale",
        value=0.25,
        total_factor=0.25,
        over_steps=50,
        state="proposed",
        by="policy approve",
        reason="learning rate too high: a quarter of it ends the oscillation",
        applied_step=None,
        created_at=NOW - 42,
        changed_at=NOW - 42,
        detail="waits for a decision",
        verdict="lr_too_high",
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # the fields are those of Adjustment


def steered() -> ScriptedFeed:
    """A hot job that is being steered, its twin that is only watched, and two that are well."""
    hot, twin = hot_curves("char-lm-steered", 1481, 1180), hot_curves("char-lm-watched", 1481, None)
    vit, old = calm_curves("vit-base-224", 2481, 11), calm_curves("resnet50-baseline", 9000, 21)
    cut = proposal(
        "char-lm-steered",
        state="probation",
        by="policy auto",
        applied_step=1180,
        detail="compared for 400 steps with what was foretold without it",
        ranks={"0": views.ReadBack(1230, (0.0021,))},
    )
    steered_job = job(
        "char-lm-steered",
        policy="auto",
        step=1480,
        planned_steps=4000,
        loss=float(hot["char-lm-steered", "loss"].values[-40:].mean()),
        grad_norm=0.94,
        lr=float(hot["char-lm-steered", "lr/0"].values[-1]),
        total_factor=0.25,
        val_loss=1.52,
        diagnosis=replace(HOT_DIAGNOSIS, prescription=None),
        findings=FINDINGS,
        recent_loss=recent(hot, "char-lm-steered"),
    )
    watched = job(
        "char-lm-watched",
        step=1480,
        planned_steps=4000,
        loss=float(twin["char-lm-watched", "loss"].values[-40:].mean()),
        grad_norm=3.51,
        lr=0.0073,
        val_loss=3.1,
        diagnosis=HOT_DIAGNOSIS,
        findings=FINDINGS,
        recent_loss=recent(twin, "char-lm-watched"),
    )
    script: list[Update] = [
        Connected(DAEMON),
        JobUpdate(steered_job, (cut,)),
        JobUpdate(watched),
        JobUpdate(job("vit-base-224", recent_loss=recent(vit, "vit-base-224"), world_size=8, ranks_seen=8)),
        JobUpdate(
            job(
                "resnet50-baseline",
                state="finished",
                ended_at=NOW - 600,
                exit_code=0,
                step=8999,
                loss=1.402,
                started_at=NOW - 9000,
                recent_loss=recent(old, "resnet50-baseline"),
            )
        ),
        Ready(),
    ]
    events = (
        views.Event(NOW - 420, 0, "started", "first step seen on rank 0", 0, 1),
        views.Event(NOW - 300, 436, "finding", "LearningRateTooHigh fires", 0, 1),
        views.Event(NOW - 200, 1180, "adjustment", "scale ×0.25 laid on, read back on 1 rank", 0, 1),
    )
    return ScriptedFeed(script, {**hot, **twin, **vit, **old}, {"char-lm-steered": events})


def firing() -> ScriptedFeed:
    """A hot job whose cut waits for somebody to say yes, and one that is well."""
    hot, vit = hot_curves("char-lm", 1481, None), calm_curves("vit-base-224", 2481, 11)
    hot_job = job(
        "char-lm",
        policy="approve",
        step=1480,
        planned_steps=4000,
        loss=3.214,
        grad_norm=3.51,
        lr=0.0105,
        val_loss=3.1,
        diagnosis=HOT_DIAGNOSIS,
        findings=FINDINGS,
        waiting_adjustments=1,
        recent_loss=recent(hot, "char-lm"),
    )
    script: list[Update] = [
        Connected(DAEMON),
        JobUpdate(hot_job, (proposal("char-lm"),)),
        JobUpdate(job("vit-base-224", recent_loss=recent(vit, "vit-base-224"))),
        Ready(),
    ]
    return ScriptedFeed(script, {**hot, **vit})


def running() -> ScriptedFeed:
    """One job that is well."""
    vit = calm_curves("vit-base-224", 2481, 11)
    return ScriptedFeed(
        [Connected(DAEMON), JobUpdate(job("vit-base-224", recent_loss=recent(vit, "vit-base-224"))), Ready()], vit
    )


def empty() -> ScriptedFeed:
    """A daemon that knows no job."""
    return ScriptedFeed([Connected(DAEMON), Ready()])


def unreachable() -> ScriptedFeed:
    """No daemon from the start."""
    return ScriptedFeed([Lost(f"no daemon answers at {ADDRESS} (connection refused)", 0.5)])


def offline() -> ScriptedFeed:
    """A daemon that went while a job was hot."""
    feed = firing()
    gone = Lost(f"no daemon answers at {ADDRESS} (connection refused)", 0.5)
    return replace(feed, script=[*feed.script, gone])
