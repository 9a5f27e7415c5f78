"""What the probe adds to an optimizer step of one case.

Short blocks of steps of the bare loop and of each way to watch it alternate within one process, so that a machine that
slows down slows all of them; the order turns from round to round. The probe is put in anew for each block. Every row
and every norm has to arrive at the agent's ears, else there is no figure.
"""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from steersman.agent.measure import figures
from steersman.agent.measure.backward import PatchClock, own_cost
from steersman.agent.measure.clock import clock_for
from steersman.agent.measure.ears import Ears
from steersman.agent.measure.errors import MeasureError
from steersman.agent.measure.figures import Added, Block
from steersman.agent.measure.hearing import Heard
from steersman.agent.measure.training import WARM, Case, Training, run_block
from steersman.agent.measure.waits import counted
from steersman.agent.probe import ProbeConfig, current, install
from steersman.agent.probe.budget import WINDOW
from steersman.agent.probe.probe import Probe

IDENTICAL = 60
"""Steps after which weights are compared."""
COUNTED = 40
"""Steps in which waiting is counted."""
FEWEST = 2
"""Blocks of each way: fewer have no quartiles."""
_NEVER = 1 << 30
_LONGEST = 160
_JUDGED = 12  # windows of the budget, after which it is taken to have settled
_NOTHING = "there is nothing to report"


@dataclass(frozen=True)
class Overhead:
    """What was measured on one case.

    Attributes:
        case: its name.
        batch: examples a step.
        blocks: of each way.
        step_ms: the bare step, median.
        step_low_ms: the bare step, 10 % quantile.
        steps: that were watched, norm and direction included; so many `rows` and `norms` arrived.
        rows: that arrived of them.
        norms: that arrived of them.
        directions: that arrived of them.
        without_norm: what a row adds, from the hooks to the agent; the patch on backward is part of it.
        whole: the same with norm and direction, as every job has it.
        kept: what a job pays once the budget has thinned what costs too much; None where it leaves all of `whole`.
        norm_every: steps between two norms then, and a tenth of the steps between two directions.
        rows_every: steps between two rows then.
        backward: the patch on backward alone; None where the probe has none.
        waits: what the probe added in `COUNTED` steps of what makes a host wait for its device, by name.
        waits_bare: what the bare loop has of that by itself.
        bit_identical: whether the weights ended the same with the probe and without.
    """

    case: str
    batch: int
    blocks: int
    step_ms: float
    step_low_ms: float
    steps: int
    rows: int
    norms: int
    directions: int
    without_norm: Added
    whole: Added
    kept: Added | None
    norm_every: int
    rows_every: int
    backward: Added | None
    waits: dict[str, int]
    waits_bare: dict[str, int]
    bit_identical: bool


def steps_of(case: Case, blocks: int) -> int:
    """How many steps `measure` makes, for an estimate of its time."""
    return 4 * blocks * (WARM + case.block) + 2 * IDENTICAL + 2 * COUNTED + _kept_steps(case, blocks)


def _kept_steps(case: Case, blocks: int) -> int:
    """Until the budget has settled, and where it thins what is measured then: roughly."""
    return 2 * (WINDOW + blocks * case.block)


def measure(
    case: Case, device: str, blocks: int, ears: Ears, done: Callable[[int], None] = lambda steps: None
) -> Overhead:
    """Measure on one case.

    Args:
        case: the job.
        device: where it trains.
        blocks: of each way, at least `FEWEST`.
        ears: where rows go; they may have heard of other cases, but not of this one.
        done: called with the steps made since it was called last.

    Raises:
        MeasureError: there is a probe already, it failed, or something did not arrive.
    """
    if current() is not None:
        raise MeasureError("this process is being watched already: call it without `steersman run`")
    pairs = zip(_weights(case, device, None), _weights(case, device, ears.path), strict=True)
    identical = all(torch.equal(bare, watched) for bare, watched in pairs)
    done(2 * IDENTICAL)
    bare_waits, watched_waits = _waits(case, device, None), _waits(case, device, ears.path)
    done(2 * COUNTED)
    ways = _Ways(case, device, ears.path)
    for index in range(blocks):
        for way in ways.in_turn(index):
            way()
            done(WARM + case.block)
    kept = ways.kept(blocks)
    done(_kept_steps(case, blocks))
    heard = ears.heard()
    made = blocks * (WARM + case.block)
    whole = _arrived(heard, case, "whole", made)
    alone = _arrived(heard, case, "rows", made)
    if whole.norms != made:
        raise MeasureError(f"{whole.norms} norms of {made} arrived: {_NOTHING}")
    if alone.norms > blocks:  # the very first step of a new optimizer has one
        raise MeasureError(f"{alone.norms} norms arrived where none was to be taken: {_NOTHING}")
    return Overhead(
        case=case.name,
        batch=case.batch,
        blocks=blocks,
        step_ms=figures.typical(ways.bare) * 1e3,
        step_low_ms=figures.typical(ways.bare, figures.low) * 1e3,
        steps=made,
        rows=whole.rows,
        norms=whole.norms,
        directions=whole.directions,
        without_norm=figures.compared(ways.rows, ways.bare),
        whole=figures.compared(ways.whole, ways.bare),
        kept=kept,
        norm_every=ways.thinned[0],
        rows_every=ways.thinned[1],
        backward=figures.timed(ways.patch, ways.bare) if ways.patch else None,
        waits={name: n - bare_waits[name] for name, n in watched_waits.items() if n != bare_waits[name]},
        waits_bare=dict(bare_waits),
        bit_identical=identical,
    )


@contextlib.contextmanager
def watching(name: str, path: str, training: Training, with_norm: bool = True, floor: float = 1.0) -> Iterator[Probe]:
    """A probe in this process that has seen the optimizer, with a budget that nothing exceeds unless `floor` says so.

    Nothing may be thinned away while it is being measured.

    Raises:
        MeasureError: the probe caught an error of its own.
    """
    probe = install(ProbeConfig(attempt_id=str(uuid.uuid4()), job=name, socket_path=path, budget_floor=floor))
    try:
        probe.see(training.optimizer)
        if not with_norm:
            leave_norm_out(probe)
        yield probe
    finally:
        probe.close()
    if probe.failures:
        raise MeasureError(f"the probe failed {probe.failures} times: {_NOTHING}")


def leave_norm_out(probe: Probe) -> None:
    """As if the budget had thinned norm and direction away for good.

    No setting of a job does that, for no job wants it; that it took effect shows in what arrives.
    """
    probe._steps._budget.norm_every = _NEVER


class _Ways:
    """Blocks of each way on one training; where its tensors lie in memory makes a difference too."""

    def __init__(self, case: Case, device: str, path: str) -> None:
        self._case = case
        self._path = path
        self._training = Training(case, device)
        self._clock = clock_for(device)
        self._own = own_cost()
        self.bare: list[Block] = []
        self.rows: list[Block] = []
        self.whole: list[Block] = []
        self.patch: list[float] = []
        self.thinned = (1, 1)

    def in_turn(self, index: int) -> list[Callable[[], None]]:
        """All of them, another one first each time."""
        ways = [self._bare, self._rows, self._whole, self._backward]
        first = index % len(ways)
        return ways[first:] + ways[:first]

    def _bare(self) -> None:
        self.bare.append(run_block(self._training, self._clock))

    def _rows(self) -> None:
        with watching(f"{self._case.name} rows", self._path, self._training, with_norm=False):
            self.rows.append(run_block(self._training, self._clock))

    def _whole(self) -> None:
        with watching(f"{self._case.name} whole", self._path, self._training):
            self.whole.append(run_block(self._training, self._clock))

    def _backward(self) -> None:
        clock = PatchClock()
        with clock.below():
            below = torch.autograd.backward
            with watching(f"{self._case.name} backward", self._path, self._training):
                patched = torch.autograd.backward is not below
                with clock.above():
                    run_block(self._training, self._clock)
        if patched and clock.calls:
            self.patch.append((clock.spent / clock.calls - self._own) * 1e-9)

    def kept(self, blocks: int) -> Added | None:
        """As every job has it: the budget thins what costs too much. None where it thins nothing.

        What it comes to is found out first. Blocks are then as long as it takes for all that is done to be done in
        each, and as many fewer.
        """
        self.thinned = self._settled()
        if self.thinned == (1, 1):
            return None
        case = replace(self._case, block=min(10 * self.thinned[0], _LONGEST))
        training = self._training
        training.case = case
        bare: list[Block] = []
        kept: list[Block] = []
        for _ in range(max(FEWEST, blocks * self._case.block // case.block)):
            bare.append(run_block(training, self._clock))
            with watching(f"{case.name} kept", self._path, training) as probe:
                budget = probe._steps._budget
                budget.norm_every, budget.rows_every = self.thinned
                kept.append(run_block(training, self._clock))
        training.case = self._case
        return figures.compared(kept, bare)

    def _settled(self) -> tuple[int, int]:
        """Every how many steps the budget lets a norm and a row be, once it has stopped to thin."""
        name = f"{self._case.name} settling"
        with watching(name, self._path, self._training, floor=ProbeConfig.budget_floor) as probe:
            budget = probe._steps._budget
            self._training.step()  # it has no time of its own to be judged by
            for _ in range(_JUDGED):
                before = budget.norm_every, budget.rows_every
                for _ in range(WINDOW):
                    self._training.step()
                if before == (budget.norm_every, budget.rows_every):
                    break
            return budget.norm_every, budget.rows_every


def _arrived(heard: dict[str, Heard], case: Case, way: str, made: int) -> Heard:
    found = heard.get(f"{case.name} {way}", Heard())
    if found.faults:
        raise MeasureError(f"the probe said {found.faults} times that something failed: {_NOTHING}")
    if found.rows != made:
        raise MeasureError(f"{found.rows} rows of {made} arrived: {_NOTHING}; is the machine very busy?")
    return found


def _weights(case: Case, device: str, path: str | None) -> list[torch.Tensor]:
    """What a case ends with, watched where a socket is given."""
    training = Training(case, device)
    with contextlib.nullcontext() if path is None else watching(f"{case.name} weights", path, training):
        for _ in range(IDENTICAL):
            training.step()
    return training.weights()


def _waits(case: Case, device: str, path: str | None) -> Counter[str]:
    training = Training(case, device)
    with contextlib.nullcontext() if path is None else watching(f"{case.name} waits", path, training):
        training.step()
        with counted(device) as seen:
            for _ in range(COUNTED):
                training.step()
    return seen
