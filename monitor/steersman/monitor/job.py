"""One attempt of a job in memory. Knows no gRPC, no asyncio, no store: rows in, parts of a unit out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from steersman.monitor import findings as stored_findings
from steersman.monitor import jsonfloat
from steersman.monitor.adjustment import Acknowledgement, Adjustment, AdjustmentKind
from steersman.monitor.control import Control, Policy
from steersman.monitor.docket import Moment
from steersman.monitor.ending import End, JobState
from steersman.monitor.engine import EngineMaker, JobEngine
from steersman.monitor.errors import RefusedError
from steersman.monitor.facts import Facts
from steersman.monitor.gather import Gathering, Ready
from steersman.monitor.gauges import Gauges
from steersman.monitor.ledger import Ledger, RankReading
from steersman.monitor.limits import Limits
from steersman.monitor.pace import Pace
from steersman.monitor.probation import Expectation, spread, window
from steersman.monitor.store.contract import EventRecord, JobRecord, LedgerRecord, Restored, RowsWrite
from steersman.rules.budget import StoppedRule
from steersman.rules.finding import Finding, FindingState, Severity
from steersman.rules.samples import Samples
from steersman.rules.verdict import Diagnosis

DECIDE_EVERY_ROWS = 8
"""Decisions fall on every eighth row by number, so that they do not depend on how rows were cut into batches."""
_TAIL, _RECENT = 64, 40
_OWN_RANK = -1
"""Whose the daemon's own events are: no rank has this number."""


@dataclass
class Job:
    """One attempt.

    Attributes:
        name: the name granted.
        attempt: 1 for the first attempt of this name.
        facts: what the agent said.
        control: its adjustments.
        ledger: the record of the job, over all attempts.
        engine: None until its first row, or where the rules broke.
        high_water: by rank, the last sequence number taken in.
    """

    name: str
    attempt: int
    facts: Facts
    control: Control
    ledger: Ledger
    maker: EngineMaker
    engine: JobEngine | None = None
    high_water: dict[int, int] = field(default_factory=dict)
    event_high_water: dict[int, int] = field(default_factory=dict)
    lost: dict[int, int] = field(default_factory=dict)
    rank_steps: dict[int, int] = field(default_factory=dict)
    last_sample_at: float = 0.0
    lead: int = -1
    gathering: Gathering = field(default_factory=Gathering)
    gauges: Gauges = field(default_factory=Gauges)
    tail: deque[float] = field(default_factory=lambda: deque(maxlen=_TAIL))
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    pace: Pace = field(default_factory=Pace)
    end: End | None = None
    findings: tuple[Finding, ...] = ()
    diagnosis: Diagnosis | None = None
    entered: dict[str, int] = field(default_factory=dict)
    """How often an adjustment came into each state."""
    notes: list[tuple[int, str, bool]] = field(default_factory=list)
    """(step, adjustment id, undo): laid on at steps that the lead rank's rows have not reached yet."""
    broken: str = ""
    """Why its rules no longer run; empty while they do."""
    opened_at: float = 0.0
    """When an agent last opened it, or it was brought back, on the daemon's clock."""
    ended_here: float = 0.0
    """When the daemon was told of its end, on the daemon's clock."""
    snapshot: bytes | None = None
    rows_out: list[RowsWrite] = field(default_factory=list)
    events_out: list[EventRecord] = field(default_factory=list)
    ledger_out: list[LedgerRecord] = field(default_factory=list)
    written: dict[str, Adjustment] = field(default_factory=dict)
    """The adjustments as they are stored: what is no longer the same value is written again."""
    touched: bool = False
    _breakage: bool = False
    _stopped: list[StoppedRule] = field(default_factory=list)

    # ---------------------------------------------------------------- coming and going

    @classmethod
    def begin(cls, name: str, attempt: int, facts: Facts, ledger: Ledger, maker: EngineMaker, policy: Policy) -> Job:
        """A new attempt; `policy` holds where its owner asked for none."""
        asked = Policy(facts.policy) if facts.policy else policy
        control = Control(name, facts.attempt_id, asked, Limits.asked(facts.limits))
        return cls(name, attempt, facts, control, ledger, maker, touched=True)

    @classmethod
    def resume(cls, restored: Restored, ledger: Ledger, maker: EngineMaker) -> Job:
        """Go on where another daemon, or this one before it was killed, left it."""
        record = restored.job
        facts = Facts.from_json(jsonfloat.restored(dict(record.facts)))
        state = jsonfloat.restored(dict(record.state))
        adjustments = [Adjustment.from_json(jsonfloat.loads(text)) for text in restored.adjustments.values()]
        control = Control.from_json(record.name, record.attempt_id, state["control"], adjustments)
        findings, diagnosis = stored_findings.read(restored.findings)
        end = state["end"]
        return cls(
            record.name,
            record.attempt,
            facts,
            control,
            ledger,
            maker,
            high_water=dict(restored.high_water),
            event_high_water=dict(restored.event_high_water),
            lost=dict(restored.lost),
            written=dict(control.adjustments),
            rank_steps={int(r): s for r, s in state["rank_steps"].items()},
            last_sample_at=state["last_sample_at"],
            lead=state["lead"],
            gathering=Gathering.from_json(state["gathering"]) if "gathering" in state else Gathering(),
            gauges=Gauges(**state["gauges"]),
            tail=deque(state["tail"], maxlen=_TAIL),
            recent=deque(state["recent"], maxlen=_RECENT),
            end=End(**{**end, "state": JobState(end["state"])}) if end else None,
            findings=findings,
            diagnosis=diagnosis,
            entered=state["entered"],
            notes=[(s, a, u) for s, a, u in state["notes"]],
            broken=state["broken"],
            snapshot=restored.snapshot,
        )

    def hello(self, facts: Facts) -> None:
        """The agent said more, or came back: an attempt seen again goes on."""
        joined = self.facts.joined(facts)
        if joined != self.facts or self.end is not None:
            self.facts, self.end, self.touched = joined, None, True

    def finish(self, end: End, clock: float = 0.0) -> None:
        """The job has ended; told twice it is one end, and a better informed one replaces `lost` and `detached`."""
        if self.end is None or self.end.state in (JobState.LOST, JobState.DETACHED):
            self.end, self.touched, self.ended_here = end, True, clock or end.time

    # ---------------------------------------------------------------- rows, events, acknowledgements

    def take(self, rank: int, first_seq: int, samples: Samples, skipped: int, clock: float) -> None:
        """Rows of one rank, directly after what was taken before, `skipped` lost ones aside.

        Where each rank holds only a part of the gradients, those of the lead rank wait for the others, see `release`.
        """
        self.touched = True
        ready = Ready(first_seq, samples, skipped)
        if len(samples):
            self._elect(rank)
            if self.end is not None and self.end.state in (JobState.LOST, JobState.DETACHED):
                self.end = None
            self.pace.heard_at = clock
        places = self.gathering.note(rank, samples, self.facts.world_size)
        if rank == self.lead and self.gathering.active:
            self.gathering.hold(ready, places, clock)
            return
        if rank == self.lead:
            self.gathering.passed(places)
        self._admit(rank, ready, clock)

    def release(self, clock: float) -> None:
        """Take in the lead rank's rows that wait no longer for other ranks."""
        # Who was attached to and whose optimizer does not count counts its steps from there on: each rank from another.
        alike = self.facts.way_in != "attach" or self.facts.world_size == 1 or self.gathering.alike
        for ready in self.gathering.release(self.facts.world_size if alike else 0, clock):
            self.touched = True
            self._admit(self.lead, ready, clock)

    def event(self, event: EventRecord) -> None:
        """Something happened; an event told twice is one event."""
        if event.event_seq > self.event_high_water.get(event.rank, 0):
            self.event_high_water[event.rank] = event.event_seq
            self.events_out.append(event)
            self.touched = True

    def acknowledge(self, ack: Acknowledgement, clock: float) -> None:
        """A rank says how a command fares."""
        laid_on = self.control.acknowledge(ack, Moment(ack.step, ack.time, clock, self.gauges.own()))
        if laid_on is not None:
            undo = ack.adjustment_id != laid_on.id
            if ack.step > self.rank_steps.get(self.lead, -1):
                self.notes.append((ack.step, laid_on.id, undo))
            else:
                self._note(ack.step, laid_on.id, undo, clock)
        self.touched = True

    def tick(self, clock: float) -> None:
        """Time has passed."""
        # Who was lost may come back.
        ended = self.end.time if self.end is not None and self.end.state is not JobState.LOST else None
        self.control.tick(clock, self.step, ended)
        if self.control.changes:
            self.touched = True

    # ---------------------------------------------------------------- what is to be written

    @property
    def step(self) -> int:
        """Last step of the slowest rank; -1 before the first."""
        return min(self.rank_steps.values(), default=-1)

    @property
    def rows(self) -> int:
        """Samples taken, all ranks."""
        return sum(self.high_water.values()) - sum(self.lost.values())

    def now(self, clock: float) -> Moment:
        """For what a person decides now."""
        return Moment(self.rank_steps.get(self.lead, -1), clock, clock, self.gauges.own())

    def close_books(self) -> None:
        """Turn what has happened since the last commit into ledger records, findings and a snapshot."""
        for change in self.control.take_changes():
            a = change.adjustment
            self.entered[change.state] = self.entered.get(change.state, 0) + 1
            self.ledger_out.append(
                self.ledger.append(
                    time=change.time,
                    attempt_id=a.attempt_id,
                    adjustment_id=a.id,
                    kind=a.kind.value,
                    params=change.parameters,
                    state=change.state,
                    by=change.by,
                    reason=change.reason,
                    step=change.step,
                    ranks=[RankReading(r.rank, r.step, r.lr) for r in a.ranks],
                )
            )
        if self.engine is not None:
            self.findings = stored_findings.in_order(self.engine.findings())
            self.diagnosis = self.control.temper(self.engine.diagnose())
            self.snapshot = self.engine.snapshot()

    def must_be_running(self) -> None:
        """Raise where there is no process left that could be steered.

        Raises:
            RefusedError: it has ended.
        """
        if self.end is not None:
            raise RefusedError(f"job {self.name} has ended ({self.end.state.value}): there is nothing left to steer")

    def changed_adjustments(self) -> dict[str, tuple[str, str]]:
        """Those that are not stored as they are, as a unit wants them."""
        changed = {i: a for i, a in self.control.adjustments.items() if self.written.get(i) is not a}
        self.written.update(changed)
        return {i: (a.attempt_id, jsonfloat.dumps(a.to_json())) for i, a in changed.items()}

    def findings_text(self) -> str:
        """Findings and diagnosis as they are stored."""
        return stored_findings.write(self.findings, self.diagnosis)

    def take_stopped(self) -> list[StoppedRule]:
        """The rules that were switched off since the last call because they were too slow."""
        fresh, self._stopped = self._stopped, []
        return fresh

    def take_breakage(self) -> bool:
        """Whether its rules have broken since the last call."""
        fresh, self._breakage = self._breakage, False
        return fresh

    def record(self) -> JobRecord:
        """What the store keeps of it beside rows, findings and adjustments."""
        state = {
            "control": self.control.to_json(),
            "rank_steps": {str(r): s for r, s in self.rank_steps.items()},
            "last_sample_at": self.last_sample_at,
            "lead": self.lead,
            "gathering": self.gathering.to_json(self.lead),
            "gauges": self.gauges.__dict__,
            "tail": list(self.tail),
            "recent": list(self.recent),
            "end": self.end.__dict__ if self.end else None,
            "entered": self.entered,
            "notes": self.notes,
            "broken": self.broken,
        }
        return JobRecord(
            self.facts.attempt_id,
            self.name,
            self.attempt,
            jsonfloat.plain(self.facts.to_json()),
            jsonfloat.plain(state),
            self.facts.started_at,
            self.end.time if self.end else None,
        )

    def state(self, clock: float) -> JobState:
        """How it stands."""
        if self.end is not None:
            return self.end.state
        if not self.rank_steps:
            return JobState.STARTING
        return JobState.SILENT if self.pace.silent(clock) else JobState.RUNNING

    # ---------------------------------------------------------------- inside

    def _elect(self, rank: int) -> None:
        if self.lead >= 0 and rank >= self.lead:
            return
        before = self.lead
        self.lead = rank if before >= 0 else min([*self.facts.ranks, rank])
        for ready in self.gathering.surrender():
            self._admit(before, ready, 0.0)

    def _admit(self, rank: int, ready: Ready, clock: float) -> None:
        first_seq, samples, skipped = ready
        self.rows_out.append(RowsWrite(self.facts.attempt_id, rank, first_seq, samples, skipped))
        self.high_water[rank] = first_seq + len(samples) - 1
        if skipped:
            self.lost[rank] = self.lost.get(rank, 0) + skipped
        if not len(samples):
            return
        self.rank_steps[rank] = int(samples.steps[-1])
        self.last_sample_at = max(self.last_sample_at, float(samples.times[-1]))
        if rank == self.lead:
            self._follow(first_seq, samples, clock)

    def _follow(self, first_seq: int, samples: Samples, clock: float) -> None:
        self.pace.rows(samples.steps.tolist(), samples.times.tolist(), clock)
        # Under the policy that never decides nothing has to be cut, and cutting costs a tenth of all the work.
        deciding = self.control.policy is not Policy.OBSERVE
        start = 0
        while start < len(samples):
            stop = start + DECIDE_EVERY_ROWS - (first_seq + start - 1) % DECIDE_EVERY_ROWS if deciding else len(samples)
            stop = self._due_notes(samples, start, min(len(samples), stop), clock)
            part = samples.rows(start, stop) if stop - start < len(samples) else samples
            self._part(part, clock)
            if deciding and (first_seq + stop - 1) % DECIDE_EVERY_ROWS == 0:
                self._decide(part, clock)
            start = stop

    def _due_notes(self, samples: Samples, start: int, stop: int, clock: float) -> int:
        """Tell the engine of what was laid on at the first of these rows; stop before a row where more was."""
        for note in sorted(self.notes):
            at = next((i for i in range(start, stop) if samples.steps[i] >= note[0]), None)
            if at == start:
                self.notes.remove(note)
                self._note(*note, clock)
            elif at is not None:
                return at
        return stop

    def _part(self, part: Samples, clock: float) -> None:
        changed = list(self._feed(part))
        loss = part.columns.get("loss")
        values = loss.values.tolist() if loss is not None else []
        present = loss.present.tolist() if loss is not None else []
        self.gauges.take(part)
        own = self.gauges.own()
        fired = [f for f in changed if f.state is FindingState.FIRING]
        known = [value for value, there in zip(values, present, strict=True) if there]
        if self.control.open() is None and not fired:
            self._losses(known)
            return
        for i, (step, time) in enumerate(zip(part.steps.tolist(), part.times.tolist(), strict=True)):
            if values and present[i]:
                self._losses(values[i : i + 1])
            now = Moment(step, time, clock, own)
            if values and present[i]:
                self.control.observe(step, values[i], now)
            for finding in [f for f in fired if f.first_step <= step]:
                fired.remove(finding)
                self.control.note_instability(finding.rule, finding.verdict, finding.first_step, now)

    def _losses(self, losses: Sequence[float]) -> None:
        self.tail.extend(losses)
        self.recent.extend(self.gauges.smooth(losses))

    def _feed(self, part: Samples) -> Sequence[Finding]:
        engine = self._ready_engine()
        if engine is None:
            return ()
        known = len(engine.stopped())
        try:
            changed = engine.feed(part)
            self._say_stopped(engine.stopped()[known:])
            return changed
        except Exception as error:  # noqa: BLE001  a rule that breaks on one job must not stop the rows of all others
            self._break(error)
            return ()

    def _say_stopped(self, stopped: Sequence[StoppedRule]) -> None:
        for rule in stopped:
            seq = self.event_high_water.get(_OWN_RANK, 0) + 1
            message = f"Rule {rule.rule} is switched off for this job: {rule.reason}."
            self.event(
                EventRecord(
                    self.facts.attempt_id, _OWN_RANK, seq, self.last_sample_at, rule.step, "rule_stopped", message, 1
                )
            )
            self._stopped.append(rule)

    def _ready_engine(self) -> JobEngine | None:
        """The engine, made or brought back when it is first needed; None once its rules have broken."""
        if self.engine is None and not self.broken:
            try:
                self.engine = self._restored_engine() or self.maker.new(self.facts)
            except Exception as error:  # noqa: BLE001  as above: a snapshot that other rules wrote may not fit these
                self._break(error)
        return self.engine

    def _restored_engine(self) -> JobEngine | None:
        if self.snapshot is None:
            return None
        try:
            return self.maker.restore(self.facts, self.snapshot)
        except ValueError:
            return None  # another version's snapshot: the rules begin anew, the rows go on

    def _break(self, error: Exception) -> None:
        self.engine = None
        self.broken = f"{type(error).__name__}: {error}"
        self._breakage = True

    def _decide(self, part: Samples, clock: float) -> None:
        if self.engine is None or self.control.open() is not None:
            return
        if not any(f.state is FindingState.FIRING for f in self.engine.findings()):
            return
        now = Moment(int(part.steps[-1]), float(part.times[-1]), clock, self.gauges.own())
        self.control.consider(self.engine.diagnose(), now, breaking=_breaking(self.engine))

    def _note(self, step: int, adjustment_id: str, undo: bool, clock: float) -> None:
        adjustment = self.control.find(adjustment_id)
        engine = self._ready_engine()
        if not undo and adjustment.kind is not AdjustmentKind.RELEASE:
            points = window(self.facts.planned_steps, step)
            expected = self._expectation(engine, step, adjustment.over_steps + points)
            breaking = engine is not None and _breaking(engine)
            self.control.put_on_probation(adjustment_id, expected, points, breaking=breaking)
        if engine is not None:
            own = self.gauges.own()
            lr = own[0] if own else math.nan
            factor = adjustment.overlay.factor(lr) / adjustment.previous.factor(lr)
            engine.note_adjustment(step, 1 / factor if undo else factor)

    def _expectation(self, engine: JobEngine | None, step: int, steps: int) -> Expectation:
        noise = spread(self.tail)
        foretold = engine.expectation(step, steps) if engine is not None else None
        if foretold is None:
            return Expectation.level(step, self.tail, noise)
        return replace(foretold, spread=noise)


def _breaking(engine: JobEngine) -> bool:
    """Whether a critical finding fires."""
    return any(f.severity is Severity.CRITICAL and f.state is FindingState.FIRING for f in engine.findings())
