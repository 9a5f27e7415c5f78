"""Checks expressions with Google's CEL: names, types, syntax. The only place that knows the library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cel_expr_python import cel

from steersman.rules.features.catalogue import FeatureName
from steersman.rules.language.document import did_you_mean, place_of
from steersman.rules.language.expression import parse
from steersman.rules.language.words import LanguageError

_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_UNKNOWN = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '\((.*)\)'")


class Checker:
    """Type-checks boolean expressions over named features.

    Args:
        features: what may be named.
    """

    def __init__(self, features: Mapping[str, FeatureName]) -> None:
        self.features = features
        self._env: Any = None

    def check(self, source: str) -> list[tuple[int, int, str]]:
        """What is wrong with an expression: line and column from 1 and a sentence each; nothing where it is right."""
        try:
            parse(source)
        except LanguageError as error:
            return [(*place_of(source, error.at), error.text)]
        try:
            kind = self._environment().compile(source).return_type().name()
        except RuntimeError as error:
            found = [(int(a), int(b), self._say(text)) for a, b, text in _ERROR.findall(str(error))]
            return found or [(1, 1, " ".join(str(error).split()))]
        if kind.lower() != "bool":
            return [(1, 1, f"must say true or false, but is of type {kind.lower()}")]
        return []

    def _environment(self) -> Any:
        if self._env is None:
            kinds = {"number": cel.Type.DOUBLE, "bool": cel.Type.BOOL}
            known = [cel.Overload(f"known_{name}", cel.Type.BOOL, [kind], False) for name, kind in kinds.items()]
            self._env = cel.NewEnv(
                variables={name: kinds[f.kind] for name, f in self.features.items()},
                functions=[cel.FunctionDecl("known", known)],
            )
        return self._env

    def _say(self, text: str) -> str:
        text = text.removesuffix(" [INVALID_ARGUMENT]")
        if m := _UNKNOWN.search(text):
            return f"unknown feature {m[1]!r}{did_you_mean(m[1], self.features)}"
        if m := _OVERLOAD.search(text):
            op = m[1].strip("_")
            types = m[2].replace("double", "number").split(", ")
            if "int" in types:
                return f"{op!r} compares a number with a whole number: write 1.0, not 1"
            return f"{op!r} does not apply to {' and '.join(types)}"
        return text
