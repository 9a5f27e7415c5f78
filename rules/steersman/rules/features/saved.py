"""State of a feature as values that JSON can carry to the bit."""

from __future__ import annotations

from typing import Any, ClassVar


class Saved:
    """Base of every streaming feature: names its state once, and so can write it down and take it back.

    Floats survive JSON to the bit, because Python prints the shortest text that reads back as the same number.
    """

    FIELDS: ClassVar[tuple[str, ...]] = ()

    def state(self) -> dict[str, Any]:
        """The state, as numbers, strings, lists and None."""
        out = {}
        for name in self.FIELDS:
            value = getattr(self, name)
            out[name] = list(value) if isinstance(value, list) else value
        return out

    def load(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        for name in self.FIELDS:
            value = state[name]
            setattr(self, name, list(value) if isinstance(value, list) else value)
