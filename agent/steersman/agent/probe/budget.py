"""What the probe may cost, measured on itself."""

from __future__ import annotations

from typing import List, NamedTuple, Sequence, Tuple

WINDOW = 200
_WIDEST = 1024


class Gap(NamedTuple):
    """A change in how often something is measured, to be said as an event."""

    kind: str
    message: str
    every: int


class Budget:
    """Thins the norm and the direction first, and rows only when they alone cost too much.

    The budget of a step is the larger of `fraction` of the median step time and `floor`, and holds for the mean over
    200 steps. What was thinned comes back when a quarter of the budget was enough.

    Costs are measured on the wall clock, which also charges us with what other processes do when they take the
    processor away within a hook. So the mean is put together from the middle half of each kind of step, which such
    interruptions do not reach: a busy machine must not switch the measuring off. (The thread's own processor time
    would tell them apart too, but reading that clock six times a step costs as much as sending the row.)

    Args:
        fraction: share of the median step time.
        floor: seconds.
    """

    __slots__ = ("_floor", "_fraction", "_notes", "norm_every", "rows_every")

    def __init__(self, fraction: float, floor: float) -> None:
        self._fraction = fraction
        self._floor = floor
        self._notes: List[Tuple[float, int, int, int]] = []
        self.norm_every = 1
        self.rows_every = 1

    def note(self, step_seconds: float, spent_ns: int, norm_ns: int, kind: int = 0) -> Sequence[Gap]:
        """One step: how long it took, what the probe spent on it, how much of that on norm and direction.

        `kind` is the same for steps on which the probe did the same things.
        """
        notes = self._notes
        notes.append((step_seconds, spent_ns, spent_ns - norm_ns, kind))
        return self._judge() if len(notes) >= WINDOW else ()

    def _judge(self) -> List[Gap]:
        notes = self._notes
        steps = sorted([note[0] for note in notes])
        allowed = max(self._fraction * steps[len(steps) // 2], self._floor) * 1e9
        mean = rows = 0.0
        for kind in {note[3] for note in notes}:
            same = [note for note in notes if note[3] == kind]
            mean += _middle([note[1] for note in same]) * len(same) / len(notes)
            rows += _middle([note[2] for note in same]) * len(same) / len(notes)
        notes.clear()
        gaps: List[Gap] = []
        if rows > allowed:
            if self.rows_every < _WIDEST:
                self.rows_every *= 2
                gaps.append(_gap("rows_thinned", "rows", self.rows_every, rows, allowed))
        elif self.rows_every > 1 and mean < allowed / 4:
            self.rows_every //= 2
            gaps.append(_gap("rows_thinned", "rows", self.rows_every, rows, allowed))
        if mean > allowed:
            if self.norm_every < _WIDEST:
                self.norm_every *= 2
                gaps.append(_gap("norm_thinned", "norm and direction", self.norm_every, mean, allowed))
        elif self.norm_every > 1 and mean < allowed / 4:
            self.norm_every //= 2
            gaps.append(_gap("norm_thinned", "norm and direction", self.norm_every, mean, allowed))
        return gaps


def _middle(costs: List[int]) -> float:
    costs.sort()
    quarter = len(costs) // 4
    kept = costs[quarter : len(costs) - quarter]
    return sum(kept) / len(kept)


def _gap(kind: str, what: str, every: int, spent: float, allowed: float) -> Gap:
    how = "every step" if every == 1 else f"every {every} steps"
    words = f"{what} {how}: the probe took {spent / 1e3:.0f} µs a step, and {allowed / 1e3:.0f} µs are allowed"
    return Gap(kind, words, every)
