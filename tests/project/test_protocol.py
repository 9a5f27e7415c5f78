"""The protocol explains itself: whatever it declares has a comment that says more than its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steersman.v1 import operator_pb2, telemetry_pb2, types_pb2

MODULES: dict[str, Any] = {"types": types_pb2, "telemetry": telemetry_pb2, "operator": operator_pb2}
SCOPE = re.compile(r"(message|enum|service|oneof) (\w+) \{")
MEMBER = re.compile(r"rpc (\w+)\(|(?:(?:optional |repeated )?[\w.]+ )?(\w+) = \d+;")
FILLERS = {"a", "an", "the", "of", "its", "this", "is", "which", "it"}


def comments(text: str) -> Iterator[tuple[str, str]]:
    """The dotted name of each declaration and its comment, empty where it has none. Each has a line of its own."""
    scopes: list[tuple[str, str]] = []
    above = ""
    for line in text.splitlines():
        code, _, beside = (part.strip() for part in line.partition("//"))
        if not code:
            above = f"{above} {beside}".strip() if beside else ""
            continue
        scope, member = SCOPE.match(code), MEMBER.match(code)
        if scope is not None or (member is not None and scopes):
            name = scope[2] if scope is not None else next(filter(None, member.groups() if member else ()))
            # As in a descriptor, what a oneof holds belongs to the message around it.
            path = [outer for kind, outer in scopes if kind != "oneof"]
            yield ".".join([*path, name]), above or beside
        if scope is not None and not code.endswith("}"):
            scopes.append((scope[1], scope[2]))
        elif code == "}":
            scopes.pop()
        above = ""


def declared(module: Any) -> Iterator[str]:
    """The dotted name of everything that a generated module knows, as `comments` gives them."""

    def of_enum(enum: Any, outer: str) -> Iterator[str]:
        yield outer + enum.name
        yield from (f"{outer}{enum.name}.{value.name}" for value in enum.values)

    def of_message(message: Any, outer: str) -> Iterator[str]:
        yield outer + message.name
        inner = f"{outer}{message.name}."
        yield from (inner + field.name for field in message.fields)
        # protoc makes a oneof of each optional field, and names it after that.
        yield from (inner + one.name for one in message.oneofs if not one.name.startswith("_"))
        for enum in message.enum_types:
            yield from of_enum(enum, inner)
        for nested in message.nested_types:
            yield from of_message(nested, inner)

    file = module.DESCRIPTOR
    for message in file.message_types_by_name.values():
        yield from of_message(message, "")
    for enum in file.enum_types_by_name.values():
        yield from of_enum(enum, "")
    for service in file.services_by_name.values():
        yield service.name
        yield from (f"{service.name}.{method.name}" for method in service.methods)


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def unexplained(text: str) -> list[str]:
    """What has no comment, or one that only says its name again."""
    return [
        name
        for name, said in comments(text)
        if not words(said) - words(name.rpartition(".")[2].replace("_", " ")) - FILLERS
    ]


@pytest.mark.parametrize("name", MODULES)
def test_everything_in_the_protocol_is_explained(name: str, root: Path) -> None:
    text = (root / f"proto/steersman/v1/{name}.proto").read_text(encoding="utf-8")
    assert sorted(where for where, _ in comments(text)) == sorted(declared(MODULES[name])), "the scan misses some"
    assert unexplained(text) == []


def test_what_is_not_explained_is_found() -> None:
    text = """
// Explained.
message Told {
  // Explained too.
  enum Kind {
    KIND_NONE = 0;  // nothing
    KIND_SOME = 1;
  }
  Kind kind = 1;
  repeated string names = 2;  // the names
  oneof which {
    // Metres.
    double length = 3;
    double width = 4;  // also metres
  }

  optional bool sure = 5;
  reserved 6 to 9;
}
message Empty {}
service Asked {
  rpc Ask(Told) returns (stream Empty);
}
"""
    assert unexplained(text) == [
        "Told.Kind.KIND_SOME", "Told.kind", "Told.names", "Told.which", "Told.sure", "Empty", "Asked", "Asked.Ask",
    ]  # fmt: skip
