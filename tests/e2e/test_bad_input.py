"""What goes wrong gets a clear word and an exit code, and the training job is unharmed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Stack, wait_for
from .test_voyage import finish

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["jobs", "--jason"], 2, "--jason"),
        (["sail"], 2, "sail"),
        (["run"], 2, ""),
        (["demo", "--lr", "abc"], 2, "'abc' is not a number"),
        (["demo", "--dashboard"], 2, "the dashboard needs a terminal"),
        (["run", "--policy", "autopilot", "--", "true"], 2, "autopilot"),
        (["jobs"], 3, "steersman serve"),
        (["show", "x"], 3, "steersman serve"),
        (["jobs", "--daemon", "nonsense"], 2, "HOST:PORT"),
        (["run", "--", "/does/not/exist"], 127, "/does/not/exist"),
    ],
)
def test_a_command_line_that_cannot_work(stack: Stack, words: list[str], code: int, said: str) -> None:
    done = stack.ask(*words, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_three_mistakes_in_a_rule_file_are_all_named_with_line_and_column(stack: Stack) -> None:
    rules = stack.script(
        "mine.yaml",
        """\
        rules:
          - rule: one
            expr: los_ > 3.0
            severity: warning
            verdict: spike
          - rule: two
            expr: c > 0.1
            severity: shouting
            verdict: spike
          - rule: three
            exprr: c > 0.1
            severity: warning
            verdict: spike
        """,
    )
    for words in (
        ["rules", "check", str(rules)],
        ["serve", "--listen", stack.listen, "--metrics", stack.metrics, "--rules", str(rules)],
    ):
        done = stack.ask(*words, check=False)
        printed = done.stdout + done.stderr
        assert done.returncode == 1, printed
        for line, word in ((3, "los_"), (8, "shouting"), (11, "exprr")):
            assert any(f"mine.yaml:{line}:" in row and word in row for row in printed.splitlines()), printed


def test_a_port_or_store_in_use_is_refused_and_the_daemon_that_holds_it_lives(stack: Stack) -> None:
    stack.start_daemon()
    same_port = stack.ask(
        "serve", "--listen", stack.listen, "--metrics", "127.0.0.1:0", "--store", "memory://", check=False
    )
    assert same_port.returncode == 1
    assert stack.listen.rsplit(":", 1)[1] in same_port.stderr
    same_store = stack.ask(
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--metrics",
        "127.0.0.1:0",
        "--store",
        f"sqlite:///{stack.store}",
        check=False,
    )
    assert same_store.returncode == 1
    assert "store.db" in same_store.stderr
    assert stack.daemon
    assert str(stack.daemon.pid) in same_store.stderr
    assert stack.json("jobs") == {"jobs": []}


def test_a_job_that_dies_at_step_0_is_known_with_its_exit_code(stack: Stack) -> None:
    stack.start_daemon()
    code, _, err = finish(
        stack.run("--job", "stillborn", "--", sys.executable, "-c", "import torch; raise SystemExit(7)")
    )
    assert code == 7, err
    job: Any = wait_for("the job", lambda: (j := stack.job("stillborn")) and j["ended_at"] and j)
    assert (job["state"], job["exit_code"], job["rows"]) == ("failed", 7, 0)


def test_a_script_that_never_trains_is_told_so(stack: Stack) -> None:
    stack.start_daemon()
    code, out, err = finish(stack.run("--", sys.executable, "-c", "print('done')"))
    assert (code, out) == (0, "done\n")
    assert "no optimizer step" in err


def test_a_second_job_of_a_live_name_gets_another_name_and_an_ended_one_a_new_attempt(
    stack: Stack, train: Path
) -> None:
    stack.start_daemon()
    first = stack.run("--job", "twin", "--", sys.executable, str(train), "100000", "0.002", str(stack.folder / "a"))
    wait_for("the first", lambda: (j := stack.job("twin")) and (j["step"] or 0) > 5)
    code, _, err = finish(
        stack.run("--job", "twin", "--", sys.executable, str(train), "50", "0", str(stack.folder / "b"))
    )
    assert code == 0
    assert "twin-2" in err
    Path(stack.folder / "a.stop").touch()
    assert finish(first)[0] == 0
    wait_for("its end", lambda: (j := stack.job("twin")) and j["ended_at"])
    assert (
        finish(stack.run("--job", "twin", "--", sys.executable, str(train), "50", "0", str(stack.folder / "c")))[0] == 0
    )
    wait_for("the second attempt", lambda: (j := stack.job("twin")) and j["attempt"] == 2 and j["state"] == "finished")


def test_a_daemon_of_another_protocol_is_named_and_the_job_trains_on(stack: Stack, train: Path) -> None:
    from concurrent import futures

    import grpc

    from steersman.v1 import operator_pb2, operator_pb2_grpc, telemetry_pb2, telemetry_pb2_grpc

    class Telemetry(telemetry_pb2_grpc.TelemetryServiceServicer):
        def Stream(self, request_iterator: Any, context: Any) -> Any:
            next(request_iterator)
            refusal = telemetry_pb2.Refusal(
                code=telemetry_pb2.Refusal.CODE_PROTOCOL, message="this daemon speaks protocol 7 to 9"
            )
            yield telemetry_pb2.StreamResponse(refusal=refusal)

    class Operator(operator_pb2_grpc.OperatorServiceServicer):
        def GetDaemon(self, request: Any, context: Any) -> Any:
            return operator_pb2.GetDaemonResponse(version="9.0", protocol_min=7, protocol_max=9)

    server = grpc.server(futures.ThreadPoolExecutor(4))
    telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(Telemetry(), server)
    operator_pb2_grpc.add_OperatorServiceServicer_to_server(Operator(), server)  # type: ignore[abstract]
    server.add_insecure_port(stack.listen)
    server.start()
    try:
        asked = stack.ask("jobs", check=False)
        assert asked.returncode == 3
        assert "protocol 7 to 9" in asked.stderr
        code, out, err = finish(stack.run("--", sys.executable, str(train), "50", "0", str(stack.folder / "w")))
        assert code == 0
        assert "trained 50" in out
        assert "protocol" in err
    finally:
        server.stop(0).wait()
