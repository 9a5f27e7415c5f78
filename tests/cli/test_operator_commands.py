from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.operators.scripted_daemon import ScriptedOperators, adjustment, job, serve

from steersman.cli.agent import _why
from steersman.cli.client import not_found, unreachable
from steersman.cli.main import main
from steersman.v1 import operator_pb2, types_pb2

SHAPES = Path(__file__).parent / "shapes.json"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def operators() -> ScriptedOperators:
    return ScriptedOperators()


@pytest.fixture
def address(operators: ScriptedOperators) -> Iterator[str]:
    with serve(operators) as address:
        yield address


@pytest.fixture
def run(
    address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("STEERSMAN_DAEMON", address)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("LOGNAME", "ada")
    return lambda *words: invoke(capsys, monkeypatch, *words)


def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["steersman", *words])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    "words",
    [
        "jobs",
        "show char-lm",
        "show char-lm --provenance",
        "series char-lm",
        "series char-lm loss",
        "adjust char-lm scale 0.5 --yes --reason cooler",
        "adjust char-lm scale 0.5 --dry-run",
        "approve char-lm",
        "reject adj-7f3a",
        "ledger show char-lm",
        "ledger verify char-lm",
    ],
)
def test_json_has_the_shape_that_is_checked_in(run: Run, words: str) -> None:
    code, out, _ = run(*words.split(), "--json")
    assert code == 0
    assert "NaN" not in out
    assert json.loads(out) == json.loads(SHAPES.read_text())[words]


def test_jobs_are_a_table_with_headline_and_confidence(run: Run) -> None:
    code, out, _ = run("jobs")
    assert code == 0
    assert re.search(r"char-lm\s+running\s+1,480\s+3\.2", out)
    assert "learning rate too high (94 %)" in out
    assert "steersman approve char-lm" in out


def test_show_says_the_diagnosis_in_words_and_why(run: Run) -> None:
    code, out, _ = run("show", "char-lm")
    assert code == 0
    for words in (
        "learning rate too high  confidence 94 %, since step 412",
        "+ successive steps undo each other",
        "− the loss is below where it began",
        "0.0026  (between 0.0017 and 0.0039)",
        "scale ×0.25 over 50 steps: too hot",
        "the loss ends 0.47 nats lower than if nothing is done (90 %: 1.75 lower to 0.05",
        "the loss settles",
        "LearningRateTooHigh",
        "proposed",
        "first sample",
    ):
        assert words in out


def test_provenance_is_a_line_a_number_with_its_value(run: Run, operators: ScriptedOperators) -> None:
    code, out, _ = run("show", "char-lm", "--provenance", "--rank", "2", "--timeout", "7")
    assert code == 0
    assert "char-lm, rank 2, step 1,480" in out
    assert re.search(r"loss +3\.25 +the tensor that backward was called on at train\.py:8", out)
    assert re.search(r"optimizer +torch\.optim\.sgd\.SGD", out)
    (asked,) = operators.asked
    assert (asked.job, asked.rank, asked.patience_s) == ("char-lm", 2, 7.0)


def test_a_job_that_cannot_say_fails_with_its_words(run: Run, operators: ScriptedOperators) -> None:
    operators.refuse = "rank 0 has finished no step"
    code, out, err = run("show", "char-lm", "--provenance", "--json")
    assert (code, out) == (1, "")
    assert "rank 0 has finished no step" in err
    assert "`steersman show char-lm` says how the job stands" in err


def test_a_rank_without_provenance_is_a_mistake(run: Run, operators: ScriptedOperators) -> None:
    code, _, err = run("show", "char-lm", "--rank", "1")
    assert code == 2
    assert "--rank and --timeout belong to --provenance" in err
    assert operators.asked == []


def test_control_characters_and_markup_of_a_name_never_reach_the_terminal(
    run: Run, operators: ScriptedOperators
) -> None:
    operators.jobs = [job("\x1b[31mevil\x07[bold]x[/bold]\u202e")]
    _, out, _ = run("jobs")
    assert "evil[bold]x[/bold]" in out
    assert not {"\x1b", "\x07", "\u202e"} & set(out)


def test_series_without_json_is_a_small_chart(run: Run, operators: ScriptedOperators) -> None:
    code, out, _ = run("series", "char-lm", "loss", "--resolution", "500", "--rank", "0")
    assert code == 0
    assert re.search("[\u2801-\u28ff]", out)
    assert "min 2.5   median 2.75   max 3   last 2.5   not finite: 1" in out
    assert (operators.asked[0].resolution, list(operators.asked[0].ranks)) == (500, [0])


def test_adjust_waits_until_it_was_read_back(run: Run, operators: ScriptedOperators) -> None:
    code, out, err = run("adjust", "char-lm", "scale", "0.5", "--over", "20", "--yes")
    assert code == 0
    assert "LR 0.01 → 0.005, over 20 steps" in err
    assert "total factor on the job's own LR: ×0.5 (the owner allows ×1/16 to ×16)" in err
    assert "scale ×0.5 over 20 steps is probation at step 1,490, read back LR 0.005" in out
    assert [request.dry_run for request in operators.asked] == [True, False]


def test_adjust_without_a_terminal_needs_yes_and_does_nothing(run: Run, operators: ScriptedOperators) -> None:
    code, _, err = run("adjust", "char-lm", "scale", "0.5")
    assert code == 2
    assert "--yes" in err
    assert operators.asked == []


@pytest.mark.parametrize(("answer", "code", "asked"), [("y", 0, 2), ("n", 5, 1)])
def test_adjust_asks_on_a_terminal(
    run: Run, operators: ScriptedOperators, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, asked: int
) -> None:
    monkeypatch.setattr("steersman.cli.adjust._interactive", lambda: True)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt: answer)
    assert run("adjust", "char-lm", "set", "0.005")[0] == code
    assert len(operators.asked) == asked


def test_adjust_that_the_job_refuses_is_exit_code_5(run: Run, operators: ScriptedOperators) -> None:
    operators.outcome = types_pb2.ADJUSTMENT_STATE_REFUSED
    code, _, err = run("adjust", "char-lm", "scale", "0.5", "--yes")
    assert code == 5
    assert "was refused: too hot" in err or "was refused" in err


def test_adjust_that_never_arrives_is_exit_code_1_and_says_how_to_take_it_back(
    run: Run, operators: ScriptedOperators
) -> None:
    operators.outcome = types_pb2.ADJUSTMENT_STATE_ARMED
    code, _, err = run("adjust", "char-lm", "scale", "0.5", "--yes", "--timeout", "0.3")
    assert code == 1
    assert "still armed after 0.3 s" in err
    assert "steersman revert adj-own" in err


def test_what_the_daemon_refuses_is_exit_code_5_in_its_words(run: Run, operators: ScriptedOperators) -> None:
    operators.refuse = "×32 is above the owner's ×16"
    assert run("adjust", "char-lm", "scale", "32", "--yes")[::2] == (5, "steersman: ×32 is above the owner's ×16\n")


@pytest.mark.parametrize(
    "words",
    ["scale", "scale zero", "scale -1", "scale nan", "set 0", "release 3", "warm 3", "scale 0.5 --over -1"],
)
def test_wrong_words_are_exit_code_2(run: Run, operators: ScriptedOperators, words: str) -> None:
    kind, *rest = words.split()
    assert run("adjust", "char-lm", kind, "--yes", *([] if not rest or rest[0] != "-1" else ["--"]), *rest)[0] == 2
    assert operators.asked == []


def test_revert_takes_the_newest_in_force_of_a_job(run: Run, operators: ScriptedOperators) -> None:
    operators.adjustments = [
        adjustment(id="adj-1", state=types_pb2.ADJUSTMENT_STATE_KEPT),
        adjustment(id="adj-2", state=types_pb2.ADJUSTMENT_STATE_PROBATION),
        adjustment(id="adj-3", state=types_pb2.ADJUSTMENT_STATE_REFUSED),
    ]
    code, out, _ = run("revert", "char-lm", "--reason", "enough")
    assert code == 0
    assert "is reverted (enough)" in out
    assert (operators.asked[0].adjustment_id, operators.asked[0].reason) == ("adj-2", "enough")


def test_revert_says_the_last_state_unless_it_is_not_to_wait(run: Run, operators: ScriptedOperators) -> None:
    operators.adjustments = [adjustment(id="adj-1", state=types_pb2.ADJUSTMENT_STATE_KEPT)]
    code, out, _ = run("revert", "adj-1", "--no-wait", "--json")
    assert (code, json.loads(out)["adjustment"]["state"]) == (0, "kept")
    operators.adjustments = [adjustment(id="adj-1", state=types_pb2.ADJUSTMENT_STATE_KEPT)]
    code, out, _ = run("revert", "adj-1", "--json")
    assert (code, json.loads(out)["adjustment"]["state"]) == (0, "reverted")


@pytest.mark.parametrize(
    ("detail", "code", "said"),
    [
        ("being taken back: enough", 1, "adjustment adj-1 was not taken back within 0.3 s"),
        ("could not be taken back: no optimizer", 5, "adj-1 of job char-lm could not be taken back: no optimizer"),
    ],
)
def test_revert_that_never_comes_or_that_the_job_refuses(
    run: Run, operators: ScriptedOperators, detail: str, code: int, said: str
) -> None:
    operators.adjustments = [adjustment(id="adj-1", state=types_pb2.ADJUSTMENT_STATE_APPLIED)]
    operators.undone = (types_pb2.ADJUSTMENT_STATE_APPLIED, detail)
    got, _, err = run("revert", "adj-1", "--timeout", "0.3")
    assert (got, said in err) == (code, True), err


def test_nothing_to_decide_is_exit_code_4(run: Run, operators: ScriptedOperators) -> None:
    operators.adjustments = []
    assert "no adjustment of job 'char-lm' waits for a decision" in run("approve", "char-lm")[2]
    assert run("revert", "char-lm")[0] == 4


@pytest.mark.parametrize("words", ["show char-ml", "series char-ml", "ledger show char-ml", "approve char-ml"])
def test_an_unknown_job_is_exit_code_4_with_the_name_that_comes_close(run: Run, words: str) -> None:
    code, out, err = run(*words.split())
    assert (code, out) == (4, "")
    assert "'char-ml'" in err
    assert "did you mean char-lm?" in err


def test_an_unknown_name_has_each_known_one_once() -> None:
    error = not_found("zzz", ["mnist", "mnist", "char-lm"])
    assert error.hint == "known jobs: char-lm, mnist"


def test_a_narrow_terminal_has_no_picture_of_the_loss(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = set("▁▂▃▄▅▆▇█")
    assert bars & set(run("jobs")[1])
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run("jobs")
    assert (code, bars & set(out)) == (0, set())
    assert "char-lm" in out


def test_an_unknown_rank_names_those_there_are(run: Run) -> None:
    code, out, err = run("series", "char-lm", "loss", "--rank", "5")
    assert (code, out) == (4, "")
    assert "job char-lm has no rank 5; there are: 0" in err


def test_an_unknown_series_names_those_there_are(run: Run) -> None:
    code, _, err = run("series", "char-lm", "lossy")
    assert code == 4
    assert "job char-lm has no series 'lossy'" in err
    assert "did you mean loss?" in err


@pytest.mark.parametrize(("protocol", "older"), [((2, 3), "this command"), ((0, 0), "the daemon")])
def test_a_daemon_on_another_protocol_is_exit_code_3(
    run: Run, operators: ScriptedOperators, protocol: tuple[int, int], older: str
) -> None:
    operators.protocol = protocol
    code, _, err = run("jobs")
    assert code == 3
    assert "speaks protocol" in err
    assert f"upgrade {older}" in err


def test_no_daemon_is_exit_code_3_and_says_how_to_start_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = invoke(capsys, monkeypatch, "jobs", "--json", "--daemon", "127.0.0.1:1")
    assert (code, out) == (3, "")
    assert "no daemon answers at 127.0.0.1:1 (connection refused)" in err
    assert "steersman serve" in err


@pytest.mark.parametrize(
    ("detail", "why"),
    [
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:1.2.3.4:1: connect: Connection refused",
            "refused",
        ),
        ("errors resolving x:1: [field:hostname lookup error:UNKNOWN: x]", "the host name is not known"),
        ("[field:hostname lookup error:UNKNOWN:Name or service not known]", "the host name is not known"),
        (
            "failed to connect to all addresses; last error: INTERNAL: ipv4:1.2.3.4:1: odd",
            "no connection could be made",
        ),
    ],
)
def test_what_grpc_says_of_a_connection_becomes_a_few_words(detail: str, why: str) -> None:
    said = unreachable("h:1", detail).message
    assert why in said
    assert "ipv4" not in said
    assert "[field" not in said
    assert "UNAVAILABLE" not in (words := _why(f"UNAVAILABLE: {detail}"))
    assert why in words


def test_an_address_without_port_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = invoke(capsys, monkeypatch, "jobs", "--daemon", "localhost")
    assert code == 2
    assert "HOST:PORT" in err


def test_a_broken_record_is_exit_code_1(run: Run, operators: ScriptedOperators) -> None:
    operators.ledger_prev = "1" * 64
    code, _, err = run("ledger", "verify", "char-lm")
    assert code == 1
    assert "entry 1 does not follow from the one before it" in err


def test_a_hash_written_down_earlier_must_be_in_the_record(run: Run) -> None:
    code, out, _ = run("ledger", "verify", "char-lm")
    assert code == 0
    last = out.split()[-1]
    assert run("ledger", "verify", "char-lm", "--head", last.upper())[0] == 0
    code, out, err = run("ledger", "verify", "char-lm", "--head", "1" * 64, "--json")
    assert (code, json.loads(out)["verified"]) == (1, False)
    assert (
        f"no entry has the hash {'1' * 64}: the one that had it, and what followed, is missing or was replaced" in err
    )
    code, _, err = run("ledger", "verify", "char-lm", "--head", "abc")
    assert (code, "--head: 'abc' is no hash of an entry" in err) == (2, True)


def test_no_job_says_how_to_start_one(run: Run, operators: ScriptedOperators) -> None:
    operators.jobs = []
    assert "steersman run -- python train.py" in run("jobs")[2]


def test_a_job_that_ended_says_how(run: Run, operators: ScriptedOperators) -> None:
    killed = operator_pb2.JOB_STATE_KILLED
    operators.jobs = [job(state=killed, ended_at=1_760_000_100.0, signal=9, end_message="out of memory")]
    assert "killed by signal 9: out of memory" in run("show", "char-lm")[1]


def test_while_a_ramp_goes_on_the_factor_and_the_jobs_own_lr_are_those_of_now(
    operators: ScriptedOperators, run: Run
) -> None:
    (hot,) = operators.jobs
    hot.lr, hot.own_lr, hot.total_factor = 0.04, 0.05, 0.5
    _, out, _ = run("show", "char-lm")
    assert "0.04 ×0.8" in out
    assert "the job's own: 0.05" in out


def _write_shapes() -> None:
    """Writes shapes.json anew: call it by hand after a change that is wanted, and read the difference."""
    import io
    import os
    import sys

    shapes = {}
    mark = next(m for m in test_json_has_the_shape_that_is_checked_in.pytestmark if m.name == "parametrize")  # type: ignore[attr-defined]
    os.environ.update(USER="ada", LOGNAME="ada")
    for words in mark.args[1]:
        with serve(ScriptedOperators()) as where, contextlib.redirect_stdout(io.StringIO()) as out:
            sys.argv = ["steersman", *words.split(), "--json", "--daemon", where]
            with contextlib.suppress(SystemExit):
                main()
        shapes[words] = json.loads(out.getvalue())
    SHAPES.write_text(json.dumps(shapes, indent=1, ensure_ascii=False) + "\n")


def test_the_ledger_says_what_was_changed_by_whom_and_what_was_read_back(run: Run) -> None:
    code, out, _ = run("ledger", "show", "char-lm")
    assert code == 0
    assert "scale ×0.25 over 50 steps  applied  step 1,490" in out
    assert "by operator ada; LR 0.0025; too hot" in out
