"""Reads values out of a file's tree, and remembers what is wrong with them."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import yaml

from steersman.rules.language.document import MAX_BYTES, Document, did_you_mean, place_of
from steersman.rules.language.mistake import Mistake


class TreeReader:
    """What all files of ours have in common: keys, words, numbers, lists, each refused with its place.

    Args:
        path: as it was given.
        document: the file.
        mistakes: gets what is wrong.

    Attributes:
        unit: what is being read, `rule` or `case`.
        scope: name of the rule (or case) being read, empty outside of them; it stands in each mistake.
    """

    unit: ClassVar[str] = "rule"

    def __init__(self, path: str, document: Document, mistakes: list[Mistake]) -> None:
        self.path = path
        self.document = document
        self.mistakes = mistakes
        self.scope = ""

    def wrong(self, node: yaml.Node | None, text: str, line: int = 1, column: int = 1) -> None:
        """Remember a mistake at a node, or at a line and column within its value."""
        row, offset = self.document.place(node, line, column) if node is not None else (1, 1)
        self.mistakes.append(Mistake(self.path, row, offset, self.scope, text, self.unit))

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

    def sequence(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        """The items of a list; none where it is no list."""
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        self.wrong(node, f"{what} must be a list")
        return []

    def text(self, node: yaml.Node, what: str) -> str | None:
        """A scalar that is a text."""
        if isinstance(node, yaml.ScalarNode) and node.value.strip():
            return str(node.value)
        self.wrong(node, f"{what} must be a text")
        return None

    def word(self, node: yaml.Node | None, key: str, allowed: Sequence[enum.StrEnum]) -> str | None:
        """One of a set of words."""
        if node is None or (word := self.text(node, key)) is None:
            return None
        values = [a.value for a in allowed]
        if word not in values:
            self.wrong(node, f"unknown {key} {word!r}{did_you_mean(word, values)}; allowed are {', '.join(values)}")
            return None
        return word

    def number(self, node: yaml.Node, low: float, high: float, what: str) -> float | None:
        """A number within bounds."""
        try:
            value = float(node.value)
        except (TypeError, ValueError):
            value = float("nan")
        if low <= value <= high:
            return value
        bounds = f"{low} and {high}" if isinstance(high, int) else f"{low:g} and {high:g}"
        found = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        self.wrong(node, f"{what} between {bounds}, found {found}")
        return None

    def whole(self, node: yaml.Node, low: int, high: int, what: str) -> int | None:
        """A whole number within bounds."""
        value = self.number(node, low, high, what)
        if value is not None and not value.is_integer():
            self.wrong(node, f"{what} between {low} and {high}, found {node.value!r}: write a whole number")
            return None
        return None if value is None else int(value)

    def flag(self, node: yaml.Node, what: str) -> bool | None:
        """`true` or `false`."""
        if isinstance(node, yaml.ScalarNode) and node.value in ("true", "false"):
            return bool(node.value == "true")
        self.wrong(node, f"{what} must be true or false")
        return None


def open_document(path: Path, mistakes: list[Mistake]) -> tuple[Document, yaml.Node | None] | None:
    """A file and the root of its tree, None for an empty file; None where it cannot be read, with the reasons."""
    try:
        with path.open("rb") as file:
            # One byte more than is allowed is enough to refuse it, and a device has no end.
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        mistakes.append(Mistake(str(path), 1, 1, "", f"cannot be read: {error.strerror or error}"))
        return None
    if len(content) > MAX_BYTES:
        words = f"the file is larger than {MAX_BYTES // 1024} KiB, which is the most allowed"
        mistakes.append(Mistake(str(path), 1, 1, "", words))
        return None
    try:
        text = content.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        line, column = place_of(before, len(before))
        words = f"cannot be read: it is not UTF-8 text, found the byte 0x{content[error.start]:02x}"
        mistakes.append(Mistake(str(path), line, column, "", words))
        return None
    document = Document(text)
    root, problems = document.compose()
    mistakes += [Mistake(str(path), p.line, p.column, "", p.text) for p in problems]
    return None if problems else (document, root)
