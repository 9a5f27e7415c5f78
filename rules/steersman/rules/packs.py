"""Rule packs: YAML files of rules, read and checked whole."""

from __future__ import annotations

import enum
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from steersman.rules.features.catalogue import FeatureName, catalogue
from steersman.rules.finding import Severity
from steersman.rules.language.cel import Checker
from steersman.rules.language.condition import Condition
from steersman.rules.language.document import Document, did_you_mean
from steersman.rules.language.mistake import Mistake, PackError
from steersman.rules.rule import Hold, Prescribe, Rule
from steersman.rules.verdict import Verdict

__all__ = ["Mistake", "Pack", "PackError", "load_pack", "shipped_pack"]

MAX_RULES = 500

_KEYS = ("rule", "expr", "unless", "for", "clear", "severity", "verdict", "explain", "evidence", "prescribe")
_NEEDED = ("rule", "expr", "severity", "verdict", "explain")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_HOLD = re.compile(r"(\d{1,6})\s*(points?|checks?)\Z")
_VERDICTS = tuple(v for v in Verdict if v not in (Verdict.HEALTHY, Verdict.UNDETERMINED, Verdict.TOO_SHORT))


@dataclass(frozen=True)
class Pack:
    """The rules in force, in the order of their files.

    Attributes:
        rules: each with its name, unique.
    """

    rules: tuple[Rule, ...] = ()

    def __len__(self) -> int:
        return len(self.rules)


def shipped_pack() -> Path:
    """The folder of the rule files that come with Steersman."""
    return Path(__file__).parent / "pack"


def load_pack(paths: Sequence[Path | str] = ()) -> Pack:
    """Read rule files, or every `*.yaml` of a folder; without paths the shipped pack.

    Raises:
        PackError: with every mistake in every file.
    """
    reader = _PackReader(catalogue())
    for path in [Path(p) for p in paths] or [shipped_pack()]:
        if path.is_dir():
            found = sorted(path.glob("*.yaml"))
            if not found:
                reader.mistakes.append(Mistake(str(path), 1, 1, "", "the folder has no *.yaml file"))
            for file in found:
                reader.read(file)
        else:
            reader.read(path)
    if reader.mistakes:
        raise PackError(reader.mistakes)
    return Pack(tuple(reader.rules))


class _PackReader:
    """Collects rules and mistakes over the files of a pack."""

    def __init__(self, features: Mapping[str, FeatureName]) -> None:
        self.features = features
        self.checker = Checker(features)
        self.rules: list[Rule] = []
        self.mistakes: list[Mistake] = []
        self.seen: dict[str, str] = {}

    def read(self, path: Path) -> None:
        """Read one file; what is wrong is remembered, never raised."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            self.mistakes.append(Mistake(str(path), 1, 1, "", f"cannot be read: {error.strerror or error}"))
            return
        except UnicodeDecodeError:
            self.mistakes.append(Mistake(str(path), 1, 1, "", "cannot be read: it is not UTF-8 text"))
            return
        document = Document(text)
        root, problems = document.compose()
        self.mistakes += [Mistake(str(path), p.line, p.column, "", p.text) for p in problems]
        if problems:
            return
        file = _FileReader(self, str(path), document)
        before = len(self.mistakes)
        file.read(root)
        self.mistakes[before:] = sorted(self.mistakes[before:], key=lambda m: (m.line, m.column))


class _FileReader:
    """Turns one file's tree into rules."""

    def __init__(self, pack: _PackReader, path: str, document: Document) -> None:
        self.pack = pack
        self.path = path
        self.document = document
        self.rule = ""

    def wrong(self, node: yaml.Node | None, text: str, line: int = 1, column: int = 1) -> None:
        """Remember a mistake at a node, or at a line and column within its value."""
        row, offset = self.document.place(node, line, column) if node is not None else (1, 1)
        self.pack.mistakes.append(Mistake(self.path, row, offset, self.rule, text))

    def mapping(self, node: yaml.Node, allowed: Sequence[str], what: str) -> dict[str, yaml.Node] | None:
        """The entries of a mapping by key; unknown and repeated keys are mistakes."""
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, f"{what} must be a mapping with the keys {', '.join(allowed)}")
            return None
        out: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if name not in allowed:
                hint = did_you_mean(name, allowed) or f"; allowed are {', '.join(allowed)}"
                self.wrong(key, f"unknown key {name!r}{hint}")
            elif name in out:
                self.wrong(key, f"{name!r} stands here twice")
            else:
                out[name] = value
        return out

    def text(self, node: yaml.Node, what: str) -> str | None:
        """A scalar that is a text."""
        if isinstance(node, yaml.ScalarNode) and node.value.strip():
            return str(node.value)
        self.wrong(node, f"{what} must be a text")
        return None

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
        for node in rules.value:
            if len(self.pack.rules) >= MAX_RULES:
                self.wrong(node, f"a pack may have {MAX_RULES} rules")
                return
            before = len(self.pack.mistakes)
            rule = self.read_rule(node)
            if rule is not None and len(self.pack.mistakes) == before:
                self.pack.rules.append(rule)
            self.rule = ""

    def read_rule(self, node: yaml.Node) -> Rule | None:
        """Read one rule; None where it has mistakes."""
        if isinstance(node, yaml.MappingNode):
            named = [v for k, v in node.value if k.value == "rule" and isinstance(v, yaml.ScalarNode)]
            self.rule = named[0].value if named else ""
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

    def word(self, node: yaml.Node | None, key: str, allowed: Sequence[enum.StrEnum]) -> str | None:
        """One of a set of words."""
        if node is None or (word := self.text(node, key)) is None:
            return None
        values = [a.value for a in allowed]
        if word not in values:
            self.wrong(node, f"unknown {key} {word!r}{did_you_mean(word, values)}; allowed are {', '.join(values)}")
            return None
        return word

    def hold(self, node: yaml.Node | None) -> Hold:
        """`12 points`, `3 checks`, or nothing."""
        if node is None:
            return Hold()
        found = _HOLD.match(node.value) if isinstance(node, yaml.ScalarNode) else None
        if found is None:
            shown = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping"
            self.wrong(node, f"bad duration {shown!r}: write a number of points or checks, such as '12 points'")
            return Hold()
        return Hold(int(found[1]), found[2].startswith("check"))

    def explain(self, node: yaml.Node | None) -> str | None:
        """A template whose fields are features."""
        if node is None or (text := self.text(node, "explain")) is None:
            return None
        try:
            for _, field, form, conversion in string.Formatter().parse(text):
                if field is None:
                    continue
                if field not in self.pack.features:
                    self.wrong(node, f"unknown feature {field!r} in braces{did_you_mean(field, self.pack.features)}")
                    return None
                if conversion:
                    raise ValueError(f"!{conversion} is not allowed")
                format(1.0, form or "")
        except ValueError as error:
            self.wrong(node, f"bad template: {error}; write {{feature}} or {{feature:.2f}}")
            return None
        return text

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

    def number(self, node: yaml.Node, low: float, high: float, what: str) -> float | None:
        """A number within bounds."""
        try:
            value = float(node.value)
        except (TypeError, ValueError):
            value = float("nan")
        if not low <= value <= high:
            self.wrong(node, f"{what} between {low:g} and {high:g}, found {node.value!r}")
            return None
        return value
