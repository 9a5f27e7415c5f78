"""A YAML file as a tree that knows where each of its words stands."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import yaml

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20

_MEANT = {
    "'\\t'": "indent with blanks, not with tabs",
    "mapping values are not allowed": "a text with a colon and a blank in it needs quotes",
    "expected alphabetic or numeric character": "a text that begins with !, & or * needs quotes",
    "found '<scalar>'": "a text that begins with a quote needs quotes of the other kind around the whole of it",
    "another document": "a file is one document, without ---",
}
"""What a mistake in YAML mostly comes of, by a part of what the library says."""


@dataclass(frozen=True)
class Problem:
    """Something wrong at a place of a file, line and column from 1."""

    line: int
    column: int
    text: str


class Document:
    """One file's text and its YAML tree.

    Hostile files are refused before they are unfolded: beyond 256 KiB, nested deeper than 20, with anchors, aliases or
    tags (289 bytes of aliases can unfold to 254 MB).

    Args:
        text: the whole file.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")

    def compose(self) -> tuple[yaml.Node | None, list[Problem]]:
        """The root node, and what stands in the way of reading it (then the node is None)."""
        if len(self.text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            return None, [Problem(1, 1, f"the file is larger than {MAX_BYTES // 1024} KiB, which is the most allowed")]
        problems: list[Problem] = []
        try:
            for problem in self._hostile():
                problems.append(problem)
            return (None if problems else yaml.compose(self.text, Loader=yaml.SafeLoader)), problems
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            what = error.problem or error.context or "cannot be read"
            hint = next((f": {words}" for part, words in _MEANT.items() if part in what), "")
            return None, [*problems, Problem(line, column, f"not YAML: {what}{hint}")]
        except yaml.reader.ReaderError as error:
            line, column = place_of(self.text, error.position)
            what = f"the character {chr(error.character)!r} may not be in it"
            return None, [*problems, Problem(line, column, f"not YAML: {what}")]

    def _hostile(self) -> Iterator[Problem]:
        depth = 0
        for event in yaml.parse(self.text, Loader=yaml.SafeLoader):
            mark = event.start_mark
            line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
            if isinstance(event, yaml.AliasEvent):
                yield Problem(line, column, "aliases (*name) are not allowed: write the rule out")
            elif isinstance(event, yaml.NodeEvent) and event.anchor is not None:
                yield Problem(line, column, "anchors (&name) are not allowed: write the rule out")
            elif (tag := getattr(event, "tag", None)) is not None:
                yield Problem(
                    line, column, f"tags are not allowed, found {tag!r}: a text that begins with ! needs quotes"
                )
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    yield Problem(line, column, f"nested deeper than {MAX_DEPTH}, which is the most allowed")
                    return
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1

    def place(self, node: yaml.Node, line: int = 1, column: int = 1) -> tuple[int, int]:
        """Where a line and column (from 1) of a scalar's value stand in the file.

        The n-th visible character of the value is the n-th visible one of its source, whatever the style of the scalar
        does with indentation and line ends.
        """
        if not isinstance(node, yaml.ScalarNode) or ((line, column) == (1, 1) and not node.style):
            return node.start_mark.line + 1, node.start_mark.column + 1
        before = "\n".join([*node.value.split("\n")[: line - 1], node.value.split("\n")[line - 1][: column - 1]])
        wanted = sum(not c.isspace() for c in before)
        row, offset = node.start_mark.line, node.start_mark.column
        if node.style in ("|", ">"):
            row, offset = row + 1, 0
        elif node.style:
            offset += 1
        for r in range(row, len(self.lines)):
            for k in range(offset, len(self.lines[r])):
                if not self.lines[r][k].isspace():
                    if wanted == 0:
                        return r + 1, k + 1
                    wanted -= 1
            offset = 0
        return node.end_mark.line + 1, node.end_mark.column + 1


def place_of(text: str, at: int) -> tuple[int, int]:
    r"""Line and column, both from 1, of an offset in characters.

    >>> place_of("ab\ncd", 4)
    (2, 2)
    """
    head = text[:at]
    return head.count("\n") + 1, at - (head.rfind("\n") + 1) + 1


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'loss'?)`, or nothing where no known word is near.

    >>> did_you_mean("los", ["loss", "lr"])
    " (did you mean 'loss'?)"
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
