"""One file of rules, turned from a tree into what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from steersman.rules.explain import has_nested_parts
from steersman.rules.features.catalogue import FeatureName
from steersman.rules.finding import Severity
from steersman.rules.language.cel import Checker
from steersman.rules.language.condition import Condition
from steersman.rules.language.document import Document, did_you_mean
from steersman.rules.language.mistake import Mistake
from steersman.rules.language.tree import TreeReader
from steersman.rules.rule import Hold, Prescribe, Rule
from steersman.rules.verdict import Verdict

MAX_RULES = 500

MAX_PARTS = 25_000
"""Parts of all expressions of a pack together: what bounds the cost of a check, see docs/rules.md."""

MAX_EXPLAIN = 1_000
"""Characters of a sentence that is filled in at each check of a rule that holds."""

MAX_RUNBOOK = 16 * 1024
"""Characters of a runbook."""

_KEYS = (
    "rule", "expr", "unless", "for", "clear", "severity", "verdict", "explain", "evidence", "prescribe", "runbook",
    "docs",
)  # fmt: skip
_NEEDED = ("rule", "expr", "severity", "verdict", "explain")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_HOLD = re.compile(r"(\d{1,6})\s*(points?|checks?)\Z")
# A width or precision of nine digits is a gigabyte of blanks.
_FORMAT = re.compile(r"[-+ ]?0?\d{0,2}(\.\d{1,2})?[efgEFG%]?\Z", re.ASCII)
_BRACES = re.compile(
    r"\{\{|\}\}|\{(?P<field>[^{}:!]*)(?:!(?P<conversion>[^{}:]*))?(?::(?P<form>[^{}]*))?\}|(?P<lone>[{}])"
)
_URL = re.compile(r"https?://\S+\Z")
_VERDICTS = tuple(v for v in Verdict if v not in (Verdict.HEALTHY, Verdict.UNDETERMINED, Verdict.TOO_SHORT))


@dataclass
class Gathered:
    """What has been read of a pack so far.

    Attributes:
        features: what rules may name.
        checker: of their expressions.
        rules: those without a mistake.
        mistakes: in the order of the files and of their lines.
        seen: where each name stands.
        parts: of all expressions together.
    """

    features: Mapping[str, FeatureName]
    checker: Checker
    rules: list[Rule] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    parts: int = 0


class RuleFile(TreeReader):
    """Turns one file's tree into rules.

    Args:
        path: as it was given.
        document: the file.
        pack: gets its rules, and what is wrong with it.
    """

    def __init__(self, path: str, document: Document, pack: Gathered) -> None:
        super().__init__(path, document, pack.mistakes)
        self.pack = pack

    def read(self, root: yaml.Node | None) -> None:
        """Read the whole file."""
        if root is None:
            self.wrong(None, "the file is empty: expected `rules:` with a list of rules")
            return
        top = self.mapping(root, ("rules",), "a rule file")
        if top is None:
            return
        rules = top.get("rules")
        if not isinstance(rules, yaml.SequenceNode):
            self.wrong(rules or root, "expected `rules:` with a list of rules")
            return
        if not rules.value:
            self.wrong(rules, "the list of rules is empty: expected one rule at least")
        for node in rules.value:
            if len(self.pack.rules) >= MAX_RULES:
                self.wrong(node, f"a pack may have {MAX_RULES} rules")
                return
            before = len(self.pack.mistakes)
            rule = self.read_rule(node)
            if rule is not None and len(self.pack.mistakes) == before:
                self.pack.rules.append(rule)
                room = self.pack.parts <= MAX_PARTS
                self.pack.parts += rule.parts
                if room and self.pack.parts > MAX_PARTS:
                    self.wrong(node, f"the expressions of a pack may have {MAX_PARTS} parts together, reached here")
            self.scope = ""

    def read_rule(self, node: yaml.Node) -> Rule | None:
        """Read one rule; None where it has mistakes."""
        if isinstance(node, yaml.MappingNode):
            named = [v for k, v in node.value if k.value == "rule" and isinstance(v, yaml.ScalarNode)]
            self.scope = named[0].value if named else ""
        keys = self.mapping(node, _KEYS, "a rule")
        if keys is None:
            return None
        for needed in _NEEDED:
            if needed not in keys:
                self.wrong(node, f"{needed!r} is missing; a rule needs {', '.join(_NEEDED)}")
        name = self.name(keys.get("rule"))
        expr, unless, clear = (self.condition(keys.get(k)) for k in ("expr", "unless", "clear"))
        severity = self.word(keys.get("severity"), "severity", tuple(Severity))
        verdict = self.word(keys.get("verdict"), "verdict", _VERDICTS)
        hold = self.hold(keys.get("for"))
        explain = self.explain(keys.get("explain"))
        evidence = self.evidence(keys.get("evidence"))
        prescribe = self.prescribe(keys.get("prescribe"))
        docs = self.url(keys.get("docs"))
        runbook = self.runbook(keys.get("runbook"), name)
        if name is None or expr is None or severity is None or verdict is None or explain is None:
            return None
        return Rule(
            name=name,
            expr=expr,
            severity=Severity(severity),
            verdict=Verdict(verdict),
            explain=" ".join(explain.split()),
            unless=unless,
            hold=hold,
            clear=clear,
            evidence=evidence,
            prescribe=prescribe,
            runbook=runbook,
            docs=docs,
            file=self.path,
            line=node.start_mark.line + 1,
        )

    def name(self, node: yaml.Node | None) -> str | None:
        """The name: small letters, unique in the pack."""
        if node is None or (name := self.text(node, "rule")) is None:
            return None
        place = f"{self.path}:{node.start_mark.line + 1}"
        if not _NAME.match(name):
            self.wrong(node, f"bad name {name!r}: small letters, digits and _, at most 64, a letter first")
            return None
        if name in self.pack.seen:
            self.wrong(node, f"another rule has this name, at {self.pack.seen[name]}")
            return None
        self.pack.seen[name] = place
        return name

    def condition(self, node: yaml.Node | None) -> Condition | None:
        """An expression, checked."""
        if node is None or (source := self.text(node, "an expression")) is None:
            return None
        found = self.pack.checker.check(source)
        for line, column, text in found:
            self.wrong(node, text, line, column)
        return None if found else Condition(source)

    def hold(self, node: yaml.Node | None) -> Hold:
        """`12 points`, `3 checks`, or nothing."""
        if node is None:
            return Hold()
        found = _HOLD.match(node.value) if isinstance(node, yaml.ScalarNode) else None
        if found is None or int(found[1]) == 0:
            shown = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping"
            self.wrong(node, f"bad duration {shown!r}: write 1 to 999999 points or checks, such as '12 points'")
            return Hold()
        return Hold(int(found[1]), found[2].startswith("check"))

    def explain(self, node: yaml.Node | None) -> str | None:
        """A template whose fields are features."""
        if node is None or (text := self.text(node, "explain")) is None:
            return None
        if len(text) > MAX_EXPLAIN:
            self.wrong(node, f"explain may have {MAX_EXPLAIN} characters, this one has {len(text)}")
            return None
        found = list(dict.fromkeys(self._wrong_braces(text)))
        for words in found:
            self.wrong(node, words)
        return None if found else text

    def _wrong_braces(self, template: str) -> Iterator[str]:
        """What is wrong with the fields of a template, each for itself: Python's own reader stops at the first."""
        hint = "write {feature} or {feature:.2f}"
        if has_nested_parts(template):
            yield "bad template: a part in [brackets] that may be left out has another in it"
        for brace in _BRACES.finditer(template):
            if brace["lone"]:
                yield f"bad template: a single {brace['lone']!r}; {hint}, and {brace['lone'] * 2} for the sign itself"
            if brace["field"] is None:
                continue
            name, form, conversion = brace["field"], brace["form"] or "", brace["conversion"]
            if name not in self.pack.features:
                yield f"unknown feature {name!r} in braces{did_you_mean(name, self.pack.features)}"
            if conversion is not None:
                yield f"bad template: !{conversion} is not allowed; {hint}"
            if not _FORMAT.match(form):
                yield f"bad template: the form {form!r} is not allowed; {hint}"

    def url(self, node: yaml.Node | None) -> str:
        """A page for people."""
        if node is None or (text := self.text(node, "docs")) is None:
            return ""
        if not _URL.match(text):
            self.wrong(node, f"docs must be an address that begins with https:// or http://, found {text!r}")
            return ""
        return text

    def runbook(self, node: yaml.Node | None, name: str | None) -> str:
        """What to do when the rule fires: said here, or in `runbooks/RULE.md` beside the file."""
        if node is not None:
            text = self.text(node, "runbook") or ""
        elif name is None:
            return ""
        else:
            page = Path(self.path).parent / "runbooks" / f"{name}.md"
            try:
                text = page.read_text(encoding="utf-8")
            except FileNotFoundError:
                return ""
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                self.mistakes.append(Mistake(str(page), 1, 1, name, f"cannot be read: {reason}"))
                return ""
        if len(text) > MAX_RUNBOOK:
            self.wrong(
                node, f"a runbook may have {MAX_RUNBOOK // 1024} KiB of text, this one has {len(text)} characters"
            )
        return text.strip()

    def evidence(self, node: yaml.Node | None) -> tuple[str, ...]:
        """A list of features."""
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self.wrong(node, "evidence must be a list of features")
            return ()
        out = []
        for item in node.value:
            name = item.value if isinstance(item, yaml.ScalarNode) else ""
            if name in self.pack.features:
                out.append(name)
            else:
                self.wrong(item, f"unknown feature {name!r}{did_you_mean(name, self.pack.features)}")
        return tuple(out)

    def prescribe(self, node: yaml.Node | None) -> Prescribe | None:
        """`scale`, `over` and `risk`."""
        if node is None:
            return None
        keys = self.mapping(node, ("scale", "over", "risk"), "prescribe")
        if keys is None:
            return None
        scale: float | None = None
        if "scale" not in keys:
            self.wrong(node, "'scale' is missing: a factor on the LR, or the word recommended")
        elif (word := self.text(keys["scale"], "scale")) is not None and word != "recommended":
            scale = self.number(keys["scale"], 1 / 16, 4.0, "scale must be `recommended` or a factor")
        over = self.number(keys["over"], 0, 100_000, "over must be a number of steps") if "over" in keys else 0.0
        risk = self.text(keys["risk"], "risk") if "risk" in keys else ""
        return Prescribe(scale, int(over or 0), " ".join((risk or "").split()))
