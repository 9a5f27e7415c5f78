"""Which rules a run could have made fire: one that could not has not been tried on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from steersman.rules.features.catalogue import catalogue
from steersman.rules.language.reach import could_hold
from steersman.rules.rule import Rule
from steersman.rules.samples import Samples


@dataclass(frozen=True)
class Sight:
    """What was there to be read in a run.

    Attributes:
        inputs: its series, those of all groups and sets as one.
        known: features that were known at some check.
        unknown: features that were not known at most checks; every other feature that is not in `known` is one, too.
        fired: rules that did fire.
    """

    inputs: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    fired: frozenset[str] = frozenset()


class Watch:
    """Notes which features are known while a run is replayed."""

    def __init__(self) -> None:
        self._looks = 0
        self._known: Counter[str] = Counter()

    def look(self, known: Iterable[str]) -> None:
        """Take the features that are known at a check."""
        self._looks += 1
        self._known.update(list(known))

    def sight(self, samples: Samples, fired: Iterable[str]) -> Sight:
        """All that was known of these rows, on which these rules fired."""
        inputs = {name.partition("/")[0] for name, column in samples.columns.items() if column.present.any()}
        seldom = {name for name, times in self._known.items() if 2 * times < self._looks}
        return Sight(frozenset(inputs), frozenset(self._known), frozenset(seldom), frozenset(fired))


def tried(rules: Sequence[Rule], sights: Sequence[Sight]) -> list[frozenset[str]]:
    """For each run the rules that could have fired on it.

    A rule that reads what none of the runs with the same series ever had, as a norm after clipping where nothing is
    clipped, is out of reach; so is one that asks for something to be unknown, where it is known most of the time. What
    is known in some moments alone, as the height of a jump, is within reach of all of them.
    """
    alike: dict[frozenset[str], set[str]] = defaultdict(set)
    fired: dict[frozenset[str], set[str]] = defaultdict(set)
    for sight in sights:
        alike[sight.inputs] |= sight.known
        fired[sight.inputs] |= sight.fired
    every = frozenset(catalogue())
    found: dict[Sight, frozenset[str]] = {}
    for sight in sights:
        if sight not in found:
            known = alike[sight.inputs]
            unknown = (every - sight.known) | sight.unknown
            could = {rule.name for rule in rules if could_hold(rule.expr.tree, known, unknown)}
            found[sight] = frozenset(could | fired[sight.inputs])
    return [found[sight] for sight in sights]
