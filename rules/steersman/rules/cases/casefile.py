"""Reads files of cases, and tells every mistake in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from steersman.rules.cases.case import Case, CaseFile
from steersman.rules.cases.drawing import length
from steersman.rules.cases.expectations import ExpectationReader
from steersman.rules.cases.notation import Every, Notation, Values
from steersman.rules.cases.parser import MAX_STEPS, parse
from steersman.rules.facts import JobFacts
from steersman.rules.language.document import Document, did_you_mean
from steersman.rules.language.mistake import Mistake, PackError
from steersman.rules.language.tree import TreeReader, open_document
from steersman.rules.packs import load_pack, shipped_pack
from steersman.rules.rows import DIRECT

MAX_CASES = 500
MAX_ROWS = 100_000
MAX_SERIES = 64

SHIPPED = "shipped"
"""The word for the shipped pack, where rule files are named."""

_KEYS = (
    "name", "steps", "interval", "seed", "optimizer", "planned_steps", "series", "adjusted", "expect", "diagnosis",
)  # fmt: skip


def read_cases(paths: Sequence[Path]) -> list[CaseFile]:
    """Read files of cases, or every `*.yaml` of a folder, with the rules that they name.

    Raises:
        PackError: with every mistake in every file, those in the rule files too.
    """
    mistakes: list[Mistake] = []
    found: list[CaseFile] = []
    for path in paths:
        files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not files:
            mistakes.append(Mistake(str(path), 1, 1, "", "the folder has no *.yaml file"))
        for file in files:
            opened = open_document(file, mistakes)
            if opened is None:
                continue
            document, root = opened
            before = len(mistakes)
            read = _CaseFileReader(str(file), document, mistakes).read(root)
            mistakes[before:] = sorted(mistakes[before:], key=lambda m: (m.file != str(file), m.line, m.column))
            if read is not None:
                found.append(read)
    if mistakes:
        raise PackError(list(dict.fromkeys(mistakes)))
    return found


class _CaseFileReader(TreeReader):
    """Turns one file's tree into cases."""

    unit = "case"

    def __init__(self, path: str, document: Document, mistakes: list[Mistake]) -> None:
        super().__init__(path, document, mistakes)
        self.seen: dict[str, int] = {}

    def read(self, root: yaml.Node | None) -> CaseFile | None:
        """The whole file; None where it has no cases."""
        if root is None:
            self.wrong(None, "the file is empty: expected `cases:` with a list of cases")
            return None
        top = self.mapping(root, ("rules", "cases"), "a file of cases")
        if top is None:
            return None
        named = top.get("rules")
        if isinstance(named, yaml.SequenceNode) and any(isinstance(item, yaml.MappingNode) for item in named.value):
            name = Path(self.path).name
            words = f"these are rules, and not cases of them: a file of cases beside it names it as `rules: [{name}]`"
            self.wrong(named, words)
            return None
        sources = self.sources(top.get("rules"))
        known = self.known(sources, top.get("rules"))
        if "cases" not in top:
            self.wrong(root, "expected `cases:` with a list of cases")
            return None
        nodes = self.sequence(top["cases"], "cases")
        if not nodes and isinstance(top["cases"], yaml.SequenceNode):
            self.wrong(top["cases"], "the list of cases is empty: expected one case at least")
        if len(nodes) > MAX_CASES:
            self.wrong(top["cases"], f"a file may have {MAX_CASES} cases, this one has {len(nodes)}")
            return None
        cases = []
        for node in nodes:
            case = self.case(node, known)
            if case is not None:
                cases.append(case)
            self.scope = ""
        return CaseFile(self.path, sources, tuple(cases))

    def sources(self, node: yaml.Node | None) -> tuple[Path, ...]:
        """The rule files, beside this one or where their path leads."""
        if node is None:
            return (shipped_pack(),)
        out = []
        for item in self.sequence(node, "rules"):
            word = self.text(item, "a rule file")
            if word is None:
                continue
            path = shipped_pack() if word == SHIPPED else Path(self.path).parent / word
            if path.exists():
                out.append(path)
            else:
                hint = did_you_mean(word, [SHIPPED])
                self.wrong(item, f"there is no {word!r} beside this file{hint}: {SHIPPED} is the shipped pack")
        return tuple(out)

    def known(self, sources: tuple[Path, ...], node: yaml.Node | None) -> frozenset[str] | None:
        """The names of the rules; None where they cannot be read, which is told once and not at each case."""
        if not sources:
            if isinstance(node, yaml.SequenceNode) and not node.value:
                self.wrong(node, f"name at least one rule file, or the word {SHIPPED}")
            return None
        try:
            return frozenset(rule.name for rule in load_pack(sources).rules)
        except PackError as error:
            self.mistakes += error.mistakes
            return None

    def case(self, node: yaml.Node, known: frozenset[str] | None) -> Case | None:
        """One case; None where it has mistakes."""
        if isinstance(node, yaml.MappingNode):
            named = [v for k, v in node.value if k.value == "name" and isinstance(v, yaml.ScalarNode)]
            self.scope = named[0].value if named else ""
        keys = self.mapping(node, _KEYS, "a case")
        if keys is None:
            return None
        before = len(self.mistakes)
        for needed in ("name", "series"):
            if needed not in keys:
                self.wrong(node, f"{needed!r} is missing; a case needs name and series, and expect or diagnosis")
        if all(_is_nothing(keys.get(key)) for key in ("expect", "diagnosis")):
            self.wrong(
                keys.get("expect") or keys.get("diagnosis") or node, "it expects nothing: write expect or diagnosis"
            )
        name = self.name(keys["name"]) if "name" in keys else None
        whole = {
            key: self.whole(keys[key], low, high, f"{key} must be a number")
            for key, low, high in (
                ("steps", 1, 100 * MAX_STEPS),
                ("interval", 1, MAX_STEPS),
                ("seed", 0, 2**31 - 1),
                ("planned_steps", 0, 2**31 - 1),
            )
            if key in keys
        }
        interval = whole.get("interval") or 1
        series = self.series(keys["series"]) if "series" in keys else {}
        steps = whole.get("steps") if "steps" in keys else self.length(series, interval, keys.get("series"))
        if steps and -(-steps // interval) > MAX_ROWS:
            self.wrong(keys.get("steps"), f"a case may have {MAX_ROWS} rows, this one has {-(-steps // interval)}")
            return None
        optimizer = self.text(keys["optimizer"], "optimizer") if "optimizer" in keys else None
        reader = ExpectationReader(self, known, steps or 0)
        self.within(series, steps or 0)
        expected = reader.expected(keys.get("expect"))
        diagnoses = reader.diagnoses(keys.get("diagnosis"))
        adjusted = reader.adjusted(keys.get("adjusted"))
        if len(self.mistakes) > before or name is None or not steps:
            return None
        return Case(
            name=name,
            steps=steps,
            interval=interval,
            seed=whole.get("seed") or 0,
            facts=JobFacts(optimizer or "", whole.get("planned_steps") or 0),
            series={name: notation for name, (_, notation) in series.items()},
            adjusted=adjusted,
            expected=expected,
            diagnoses=diagnoses,
            line=node.start_mark.line + 1,
        )

    def name(self, node: yaml.Node) -> str | None:
        """The name: unique in the file, for it is what a case is called by in the answer and by `--match`."""
        if (text := self.text(node, "name")) is None:
            return None
        name = " ".join(text.split())
        if name in self.seen:
            self.wrong(node, f"another case has this name, on line {self.seen[name]}")
            return None
        self.seen[name] = node.start_mark.line + 1
        return name

    def series(self, node: yaml.Node) -> dict[str, tuple[yaml.Node, Notation]]:
        """The series by name, each with the node where it stands."""
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, "series must be a mapping from names of series to what they do")
            return {}
        if not node.value:
            self.wrong(node, "series is empty: expected one series at least")
        out: dict[str, tuple[yaml.Node, Notation]] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            base, _, rest = name.partition("/")
            if not (name in DIRECT or name == "val_loss" or (rest and base in ("lr", "val_loss"))):
                allowed = (*DIRECT, "lr/GROUP", "val_loss", "val_loss/SET")
                near = did_you_mean(name, (*DIRECT, "lr/0", "val_loss"))
                self.wrong(key, f"no rule looks at a series {name!r}{near}; there are {', '.join(allowed)}")
            elif name in out:
                self.wrong(key, f"{name!r} stands here twice")
            elif len(out) >= MAX_SERIES:
                self.wrong(key, f"a case may have {MAX_SERIES} series")
                break
            elif (notation := self.notation(value)) is not None:
                out[name] = (value, notation)
        return out

    def notation(self, node: yaml.Node) -> Notation | None:
        """What a series does."""
        if isinstance(node, yaml.SequenceNode):
            self.wrong(
                node, "a series is one text: separate what it does by ',' or 'then', in several lines after '>-'"
            )
            return None
        if (source := self.text(node, "a series")) is None:
            return None
        notation, wrong = parse(source)
        for error in wrong:
            line = source.count("\n", 0, error.at) + 1
            column = error.at - (source.rfind("\n", 0, error.at) + 1) + 1
            self.wrong(node, error.text, line, column)
        return None if wrong else notation

    def length(
        self, series: dict[str, tuple[yaml.Node, Notation]], interval: int, node: yaml.Node | None
    ) -> int | None:
        """Steps of the longest series, where the case does not say how long it is."""
        known = [n for _, notation in series.values() if (n := length(notation, interval)) is not None]
        if known:
            return max(known)
        if series:
            self.wrong(node, "nothing says how long the case is: give it `steps`, or one of its series a length")
        return None

    def within(self, series: dict[str, tuple[yaml.Node, Notation]], steps: int) -> None:
        """Nothing may be asked for where no step is."""
        if not steps:
            return
        for node, notation in series.values():
            for mark in notation.marks:
                first = mark.first if isinstance(mark, Every) else mark.place.first
                if first is not None and first >= steps:
                    self.wrong(node, f"step {first} is not in the case, which has {steps} steps from 0")
            if notation.pieces and all(isinstance(p, Values) and not any_value(p) for p in notation.pieces):
                self.wrong(node, "the series has no value at all")


def _is_nothing(node: yaml.Node | None) -> bool:
    """Whether what is expected is not there, or a list of nothing."""
    return node is None or (isinstance(node, yaml.SequenceNode) and not node.value)


def any_value(piece: Values) -> bool:
    """Whether one of the rows has a value."""
    return any(v is not None for v in piece.values)
