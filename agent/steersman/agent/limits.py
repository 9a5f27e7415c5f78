"""What the owner of a job allows, enforced here whatever a daemon says."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

POLICIES = ("observe", "advise", "approve", "auto")
"""What a daemon may do alone, from nothing to everything within the limits."""

_SLACK = 1 + 1e-9  # 1/16 computed in four steps of 1/2 must still be 1/16


@dataclass(frozen=True)
class Limits:
    """Bounds on the adjustments of one job.

    Attributes:
        min_factor: lowest total factor on the job's own LR, above 0 and at most 1.
        max_factor: highest total factor, at least 1.
        min_lr: lowest LR any group may be brought down to; 0 means no bound.
        max_lr: highest LR any group may be brought up to; 0 means no bound.
        max_adjustments: adjustments that the daemon may make alone in one attempt.
        cooldown_steps: steps between two adjustments made by the daemon alone.
    """

    min_factor: float = 1 / 16
    max_factor: float = 16.0
    min_lr: float = 0.0
    max_lr: float = 0.0
    max_adjustments: int = 3
    cooldown_steps: int = 200

    def __post_init__(self) -> None:
        for name in ("min_factor", "max_factor", "min_lr", "max_lr"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, not {value!r}")
        for name in ("max_adjustments", "cooldown_steps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
                raise ValueError(f"{name} must be a whole number from 0 on, not {value!r}")
        if not 0 < self.min_factor <= 1:
            raise ValueError(f"min_factor must be above 0 and at most 1 (no change), not {self.min_factor:g}")
        if self.max_factor < 1:
            raise ValueError(f"max_factor must be at least 1 (no change), not {self.max_factor:g}")
        if self.min_lr < 0 or self.max_lr < 0:
            raise ValueError("min_lr and max_lr must not be negative")
        if self.max_lr and self.min_lr > self.max_lr:
            raise ValueError(f"min_lr {self.min_lr:g} is above max_lr {self.max_lr:g}")

    @classmethod
    def of(cls, given: Limits | Mapping[str, Any] | None) -> Limits:
        """Limits from what a user wrote; what is left out has its default.

        Raises:
            ValueError: a name that is no limit, or a value that makes no sense.
        """
        if given is None:
            return cls()
        if isinstance(given, Limits):
            return given
        if not isinstance(given, Mapping):
            raise ValueError(f"limits must be a Limits or a mapping, not {type(given).__name__}")
        names = [f.name for f in fields(cls)]
        for key in given:
            if key not in names:
                near = difflib.get_close_matches(str(key), names, 1)
                meant = f"; did you mean {near[0]!r}?" if near else "."
                raise ValueError(f"{key!r} is no limit{meant} Limits are {', '.join(names)}.")
        return cls(**given)

    @classmethod
    def of_packet(cls, given: Mapping[str, Any]) -> Limits:
        """Limits from a packet, where 0 or an absent field means the default."""
        names = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in given.items() if k in names and v})

    def as_fields(self) -> dict[str, Any]:
        """The same, by the field names of the protobuf message `Limits`."""
        return asdict(self)


def check_policy(policy: str) -> str:
    """`policy` if it is one.

    Raises:
        ValueError: it is not; says what is.
    """
    if policy not in POLICIES:
        near = difflib.get_close_matches(str(policy), POLICIES, 1)
        meant = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"{policy!r} is no policy{meant} Policies are {', '.join(POLICIES)}.")
    return policy


@dataclass(frozen=True)
class Order:
    """What the daemon asks for: the overlay that the job shall have, as a factor or as a value."""

    adjustment_id: str
    attempt_id: str
    counter: int
    expires_at: float
    factor: float | None = None
    value: float | None = None
    over_steps: int = 0
    undo: bool = False
    by_operator: bool = False


@dataclass(frozen=True)
class Standing:
    """What has been permitted so far: kept with the spool, so that an agent that restarts forgets nothing.

    Attributes:
        counter: of the last permitted order.
        adjustment_id: of the last permitted order.
        made: adjustments that the daemon has made alone.
        last_step: step at which it made the last one; -1 where it made none.
        factor: the total factor that was permitted last.
        order: the last permitted order, as it went to the probe.
    """

    counter: int = 0
    adjustment_id: str = ""
    made: int = 0
    last_step: int = -1
    factor: float = 1.0
    order: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Standing:
        """What `asdict` wrote; unknown fields are left out."""
        names = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in given.items() if k in names})


class Keeper:
    """Judges every order against the limits of one job.

    Args:
        attempt_id: the attempt that orders must be bound to.
        limits: the owner's.
        policy: the owner's.
        standing: what was permitted before.
    """

    def __init__(self, attempt_id: str, limits: Limits, policy: str, standing: Standing) -> None:
        self.attempt_id = attempt_id
        self.limits = limits
        self.policy = policy
        self.standing = standing
        self.own_lr: dict[str, float] = {}
        self.step = -1

    def see(self, step: int, own_lr: Mapping[str, float]) -> None:
        """Take note of the job's own LR by group, in the optimizer's order, at its last step."""
        self.step = step
        if own_lr:
            self.own_lr = dict(own_lr)

    def repeats(self, order: Order) -> bool:
        """Whether this is the order in force, sent again: nothing to judge and nothing to do."""
        return (order.adjustment_id, order.counter) == (self.standing.adjustment_id, self.standing.counter)

    def objection(self, order: Order, now: float) -> str:
        """Why the owner's limits forbid this order, in words; empty where nothing does."""
        if order.attempt_id != self.attempt_id:
            return f"the order is for attempt {order.attempt_id}, this is {self.attempt_id}"
        if order.counter <= self.standing.counter:
            return f"the order's counter {order.counter} is not above {self.standing.counter}, the last one permitted"
        if order.expires_at and now > order.expires_at:
            return f"the order expired {now - order.expires_at:.1f} s ago"
        return self._alone(order) or self._bounds(order)

    def permit(self, order: Order) -> None:
        """Take note that the order goes to the probe."""
        alone = not (order.undo or order.by_operator)
        factor = self._factor(order)
        self.standing = replace(
            self.standing,
            counter=order.counter,
            adjustment_id=order.adjustment_id,
            made=self.standing.made + alone,
            last_step=self.step if alone else self.standing.last_step,
            factor=factor,
            order=asdict(order),
        )

    def _alone(self, order: Order) -> str:
        """What the daemon may do without a person: nothing of this binds an operator or an undo."""
        if order.undo or order.by_operator:
            return ""
        if self.policy in ("observe", "advise"):
            return f"the job's policy is {self.policy}: the daemon may change nothing by itself"
        if self.standing.made >= self.limits.max_adjustments:
            return (
                f"the daemon has made {self.standing.made} adjustments by itself, "
                f"and the job's owner allows {self.limits.max_adjustments}"
            )
        if self.standing.last_step >= 0:
            passed = self.step - self.standing.last_step
            if 0 <= passed < self.limits.cooldown_steps:
                return (
                    f"only {passed} steps since the last adjustment, "
                    f"and the job's owner asks for {self.limits.cooldown_steps} between two"
                )
        return ""

    def _factor(self, order: Order) -> float:
        if order.factor is not None:
            return order.factor
        first = next(iter(self.own_lr.values()), math.nan)
        return order.value / first if order.value is not None and first > 0 else math.nan

    def _bounds(self, order: Order) -> str:
        number = order.factor if order.factor is not None else order.value
        if number is None:
            return "the order names neither a factor nor a value"
        if not math.isfinite(number) or number < 0:
            return f"{number:g} is no learning rate and no factor on one"
        if order.factor == 1:
            return ""  # ends the overlay: the job's own schedule needs nobody's leave
        if not self.own_lr and (order.value is not None or self.limits.min_lr or self.limits.max_lr):
            return "no learning rate of this job has been seen yet, so the owner's bounds cannot be checked"
        factor = self._factor(order)
        if math.isnan(factor):
            return "the job's own learning rate is 0 now, so no factor on it can be told; wait for its schedule to rise"
        if factor * _SLACK < self.limits.min_factor:
            return f"a total factor of {factor:.4g} is below the owner's least, {self.limits.min_factor:.4g}"
        if factor > self.limits.max_factor * _SLACK:
            return f"a total factor of {factor:.4g} is above the owner's most, {self.limits.max_factor:.4g}"
        for group, own in self.own_lr.items():
            lr = own * factor
            if self.limits.min_lr and own > 0 and factor < 1 and lr * _SLACK < self.limits.min_lr:
                return (
                    f"a learning rate of {lr:.4g} in group {group} is below the owner's least, {self.limits.min_lr:.4g}"
                )
            if self.limits.max_lr and factor > 1 and lr > self.limits.max_lr * _SLACK:
                return (
                    f"a learning rate of {lr:.4g} in group {group} is above the owner's most, {self.limits.max_lr:.4g}"
                )
        return ""
