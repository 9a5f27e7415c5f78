"""Tests of recorded runs, which are not ours to copy, are left out where there are none."""

from __future__ import annotations

import os
import signal

import pytest

VARIABLE = "STEERSMAN_CORPUS"


def pytest_configure(config: pytest.Config) -> None:
    # A shell that puts a command in the background lets it ignore the first two, nohup the third, and so every child
    # after it: signals are tested. A worker may be hung up on; who waits for it keeps what nohup gave.
    for each in (signal.SIGINT, signal.SIGQUIT, *([signal.SIGHUP] if hasattr(config, "workerinput") else [])):
        if signal.getsignal(each) is signal.SIG_IGN:
            signal.signal(each, signal.default_int_handler if each is signal.SIGINT else signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get(VARIABLE):
        return
    left_out = [item for item in items if item.get_closest_marker("corpus")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not os.environ.get(VARIABLE):
        terminalreporter.write_line(
            f"left out: what is tested on recordings of real runs; {VARIABLE} names the folder that holds them"
        )


@pytest.fixture(scope="session")
def corpus() -> str:
    return os.environ[VARIABLE]
