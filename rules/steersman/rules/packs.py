"""Rule packs: YAML files of rules, read and checked whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from steersman.rules.features.catalogue import catalogue
from steersman.rules.language.cel import Checker
from steersman.rules.language.mistake import Mistake, PackError
from steersman.rules.language.sieve import Sieve
from steersman.rules.language.tree import open_document
from steersman.rules.rule import Rule
from steersman.rules.rule_file import Gathered, RuleFile

__all__ = ["Mistake", "Pack", "PackError", "load_pack", "shipped_pack"]


@dataclass(frozen=True)
class Pack:
    """The rules in force, in the order of their files.

    Attributes:
        rules: each with its name, unique.
    """

    rules: tuple[Rule, ...] = ()

    def __len__(self) -> int:
        return len(self.rules)

    @cached_property
    def sieve(self) -> Sieve:
        """What tells which rules can hold, made once for all jobs."""
        return Sieve([rule.expr for rule in self.rules])


def shipped_pack() -> Path:
    """The folder of the rule files that come with Steersman."""
    return Path(__file__).parent / "pack"


def load_pack(paths: Sequence[Path | str] = ()) -> Pack:
    """Read rule files, or every `*.yaml` of a folder; without paths the shipped pack.

    Raises:
        PackError: with every mistake in every file.
    """
    features = catalogue()
    found = Gathered(features, Checker(features))
    for path in [Path(p) for p in paths] or [shipped_pack()]:
        if path.is_dir():
            files = sorted(path.glob("*.yaml"))
            if not files:
                found.mistakes.append(Mistake(str(path), 1, 1, "", "the folder has no *.yaml file"))
            for file in files:
                _read(file, found)
        else:
            _read(path, found)
    if found.mistakes:
        raise PackError(found.mistakes)
    return Pack(tuple(found.rules))


def _read(path: Path, found: Gathered) -> None:
    opened = open_document(path, found.mistakes)
    if opened is None:
        return
    document, root = opened
    before = len(found.mistakes)
    RuleFile(str(path), document, found).read(root)
    found.mistakes[before:] = sorted(found.mistakes[before:], key=lambda m: (m.line, m.column))
