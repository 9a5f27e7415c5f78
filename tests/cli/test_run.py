from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from steersman.cli.errors import UsageError
from steersman.cli.run import command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there is no command to run"),
        (["--"], "there is no command to run"),
        (["--job", "--", "python", "x.py"], "--job: a job can't be called '--': a name that begins with - is taken"),
        (["--job", "--policy", "auto", "--", "true"], "--job: a job can't be called '--policy'"),
        (["--daemon", "nowhere", "--", "true"], "'nowhere' is no address of a daemon"),
        (["--max-factor", "0.5", "--", "true"], "max_factor must be at least 1 (no change), not 0.5"),
        (["--min-lr", "2", "--max-lr", "1", "--", "true"], "min_lr 2 is above max_lr 1"),
    ],
)
def test_wrong_words_are_a_usage_error(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        command.main(words, standalone_mode=False)
    assert said in raised.value.message
    assert raised.value.code == 2


def test_what_to_write_for_a_name_that_was_forgotten_is_said() -> None:
    with pytest.raises(UsageError) as raised:
        command.main(["--job", "--", "python", "x.py"], standalone_mode=False)
    assert raised.value.hint == "write a name, as in: steersman run --job NAME -- python train.py"


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--policy", "atuo", "--", "true"], "'atuo' is not one of"), (["--polcy", "auto"], "No such option")],
)
def test_a_misspelt_option_is_named(words: list[str], said: str) -> None:
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 2
    assert said in result.output


def test_the_commands_own_options_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def run(launch: Any, places: Any, say: Any) -> int:
        seen.append(launch)
        return 5

    monkeypatch.setattr("steersman.agent.launch.run", run)
    words = ["--policy", "auto", "--cooldown", "9", "python", "train.py", "--policy", "x", "--daemon", "y", "--", "z"]
    assert command.main(words, standalone_mode=False) == 5
    (launch,) = seen
    assert launch.command == ("python", "train.py", "--policy", "x", "--daemon", "y", "--", "z")
    assert (launch.policy, launch.job, launch.limits.cooldown_steps) == ("auto", "train", 9)
