from __future__ import annotations

import importlib
from typing import Any

import click
import pytest
from click.testing import CliRunner

from steersman.cli.main import COMMANDS, command


@pytest.mark.parametrize("name", COMMANDS)
def test_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(command, [name, "--help"])
    assert result.exit_code == 0, result.exception
    assert "Usage: " in result.output
    loaded = importlib.import_module(COMMANDS[name][0]).command
    assert isinstance(loaded, click.Command)
    assert loaded.help, f"steersman {name} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    def silent(part: click.Command, path: str) -> list[str]:
        found = [
            f"{path} {option.opts[0]}"
            for option in part.params
            if isinstance(option, click.Option) and not option.help and not option.hidden
        ]
        if isinstance(part, click.Group):
            for child_name, child in part.commands.items():
                found += silent(child, f"{path} {child_name}")
        return found

    assert not silent(importlib.import_module(COMMANDS[name][0]).command, name)


def test_list_of_commands_needs_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *_: Any) -> None:
        raise AssertionError(f"{name} was imported")

    monkeypatch.setattr("steersman.cli.main.importlib.import_module", refuse)
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert all(name in result.output for name in COMMANDS)
