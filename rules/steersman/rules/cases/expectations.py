"""Reads what a case expects."""

from __future__ import annotations

import yaml

from steersman.rules.cases.case import ANY_RULE, Expected, ExpectedDiagnosis
from steersman.rules.finding import FindingState, Severity
from steersman.rules.language.document import did_you_mean
from steersman.rules.language.tree import TreeReader
from steersman.rules.verdict import Verdict

_EXPECT = ("rule", "state", "at", "by", "after", "never", "severity")


class ExpectationReader:
    """Reads `expect`, `diagnosis` and `adjusted` of one case.

    Args:
        reader: of the file; gets the mistakes.
        known: names of the rules, None where they could not be read.
        steps: length of the case, 0 where it is not known.
    """

    def __init__(self, reader: TreeReader, known: frozenset[str] | None, steps: int) -> None:
        self.reader = reader
        self.known = known
        self.steps = steps

    def step(self, node: yaml.Node, key: str) -> int:
        """A step of the case; 0 where it is none."""
        last = self.steps - 1 if self.steps else 2**31 - 1
        return self.reader.whole(node, 0, last, f"{key} must be a step of the case,") or 0

    def expected(self, node: yaml.Node | None) -> tuple[Expected, ...]:
        """The list `expect`."""
        if node is None:
            return ()
        found = [self._expected(item) for item in self.reader.sequence(node, "expect")]
        return tuple(e for e in found if e is not None)

    def _expected(self, node: yaml.Node) -> Expected | None:
        reader = self.reader
        before = len(reader.mistakes)
        keys = reader.mapping(node, _EXPECT, "what is expected")
        if keys is None:
            return None
        never = "never" in keys and bool(reader.flag(keys["never"], "never"))
        rule = self.rule(keys.get("rule"), never)
        if "rule" not in keys:
            reader.wrong(node, "'rule' is missing: the name of the rule this is about")
        state = reader.word(keys.get("state"), "state", tuple(FindingState))
        severity = reader.word(keys.get("severity"), "severity", tuple(Severity))
        asked = [k for k in ("at", "by", "never") if k in keys]
        if len(asked) != 1 or (asked == ["never"] and not never):
            reader.wrong(node, "write one of `at: STEP`, `by: STEP` and `never: true`")
        if "after" in keys and "by" not in keys:
            reader.wrong(keys["after"], "'after' goes with 'by': not before the one and not later than the other")
        known = len(reader.mistakes)
        at, by = (self.step(keys[k], k) if k in keys else -1 for k in ("at", "by"))
        after = self.step(keys["after"], "after") if "after" in keys else 0
        missed = len(reader.mistakes) > known
        if "by" in keys and after > by and not missed:
            reader.wrong(keys["after"], f"nothing lies after step {after} and by step {by}")
        if rule is None or len(reader.mistakes) > before:
            return None
        return Expected(
            rule=rule,
            state=FindingState(state) if state else FindingState.FIRING,
            at=at,
            by=by,
            after=after,
            never=never,
            severity=Severity(severity) if severity else None,
            line=node.start_mark.line + 1,
            column=node.start_mark.column + 1,
        )

    def rule(self, node: yaml.Node | None, never: bool) -> str | None:
        """The name of a rule there is."""
        if node is None or (name := self.reader.text(node, "rule")) is None:
            return None
        if name == ANY_RULE:
            if not never:
                self.reader.wrong(node, f"{ANY_RULE!r} (every rule) goes only with `never: true`")
            return name
        if self.known is not None and name not in self.known:
            allowed = did_you_mean(name, self.known) or f"; there are {', '.join(sorted(self.known)[:30])}"
            self.reader.wrong(node, f"there is no rule {name!r}{allowed}")
            return None
        return name

    def diagnoses(self, node: yaml.Node | None) -> tuple[ExpectedDiagnosis, ...]:
        """`diagnosis`: one `{at, verdict}`, or a list of them."""
        if node is None:
            return ()
        out = []
        for item in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            keys = self.reader.mapping(item, ("at", "verdict"), "diagnosis")
            if keys is None:
                continue
            for needed in ("at", "verdict"):
                if needed not in keys:
                    self.reader.wrong(
                        item, f"{needed!r} is missing; a diagnosis is expected as {{at: STEP, verdict: …}}"
                    )
            verdict = self.reader.word(keys.get("verdict"), "verdict", tuple(Verdict))
            at = self.step(keys["at"], "at") if "at" in keys else 0
            if verdict is not None:
                place = item.start_mark.line + 1, item.start_mark.column + 1
                out.append(ExpectedDiagnosis(at, Verdict(verdict), *place))
        return tuple(out)

    def adjusted(self, node: yaml.Node | None) -> tuple[tuple[int, float], ...]:
        """`adjusted`: a list of `{at, factor}`, in order."""
        if node is None:
            return ()
        out = []
        for item in self.reader.sequence(node, "adjusted"):
            keys = self.reader.mapping(item, ("at", "factor"), "adjusted")
            if keys is None:
                continue
            for needed in ("at", "factor"):
                if needed not in keys:
                    self.reader.wrong(
                        item, f"{needed!r} is missing; an adjustment is written {{at: STEP, factor: 0.5}}"
                    )
            at = self.step(keys["at"], "at") if "at" in keys else 0
            factor = (
                self.reader.number(keys["factor"], 1e-6, 1e6, "factor must be a number") if "factor" in keys else None
            )
            if factor is not None:
                out.append((at, factor))
        return tuple(sorted(out))
