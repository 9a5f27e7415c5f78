"""Whatever bytes a file has: a recording, or an error in words."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.rules.readers.written import VERSION, event, field, history, record, simple, wandb_log

from steersman.rules.packs import load_pack
from steersman.rules.readers import FORMATS, ReadError, Wishes, read_runs
from steersman.rules.replay import replay

PACK = load_pack()
OFTEN = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

cell = st.one_of(
    st.floats(),
    st.integers(-(10**25), 10**25),
    st.text(max_size=8),
    st.sampled_from(["", "nan", "1e999", "-", "0,5", '"']),
)
names = st.sampled_from(
    ["step", "loss", "lr", "grad_norm", "epoch", "val_loss", "eval_a_loss", "run", "split", "x", "\0"]
)


def survives(path: Path, **wishes: str) -> None:
    try:
        runs = read_runs(path, str(path), Wishes(**wishes))  # type: ignore[arg-type]
    except ReadError:
        return
    assert runs
    for run in runs:
        n = len(run.samples)
        assert n
        assert all(len(c.values) == len(c.present) == n for c in run.samples.columns.values())
        assert len(run.samples.times) == n
        replay(run, PACK)


@OFTEN
@given(st.binary(max_size=400))
@pytest.mark.parametrize("form", [form.name for form in FORMATS if form.name != "mlflow"])
def test_any_bytes_as_any_format(tmp_path: Path, form: str, raw: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(raw)
    survives(path, format=form)


@OFTEN
@given(st.lists(st.lists(cell, max_size=5), max_size=12), st.lists(names, max_size=6), st.sampled_from(",;\t "))
def test_any_table(tmp_path: Path, rows: list[list[object]], header: list[str], mark: str) -> None:
    path = tmp_path / "a.csv"
    lines = [mark.join(header), *(mark.join(map(str, row)) for row in rows)]
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    survives(path)


json_value = st.recursive(
    cell, lambda part: st.one_of(st.lists(part, max_size=3), st.dictionaries(names, part, max_size=4))
)


@OFTEN
@given(st.lists(st.dictionaries(names, json_value, max_size=5), max_size=12), st.integers(0, 40))
def test_any_objects(tmp_path: Path, rows: list[dict[str, object]], cut: int) -> None:
    import json

    text = "\n".join(map(json.dumps, rows))
    path = tmp_path / "a.jsonl"
    path.write_text(text[: len(text) - cut])
    survives(path)
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": rows, "max_steps": math.inf}))
    survives(path)


@OFTEN
@given(st.data(), st.lists(st.tuples(st.integers(-5, 2**63), st.floats(width=32)), max_size=8))
def test_any_damage_to_an_event_file(tmp_path: Path, data: st.DataObject, points: list[tuple[int, float]]) -> None:
    raw = bytearray(VERSION + b"".join(event(1.0, step, simple("loss", value)) for step, value in points))
    raw += record(field(1, 2.0) + data.draw(st.binary(max_size=30)))
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    survives(path)


@OFTEN
@given(st.data(), st.lists(st.tuples(names, st.sampled_from(["1", "NaN", '"x"', "[", "1e400", "2.5"])), max_size=8))
def test_any_damage_to_a_wandb_file(tmp_path: Path, data: st.DataObject, cells: list[tuple[str, str]]) -> None:
    raw = bytearray(wandb_log([history(**{name: value, "loss": "1.0"}) for name, value in cells]))
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "run-a.wandb"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    survives(path)


def test_a_line_without_end_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"step,loss\n1,0.5\n" + b"x" * (9 << 20) + b"\n2,0.25\n")
    survives(path)


def test_an_empty_event_file_is_not_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    path.touch()
    for named, words in ((path, "it is empty"), (tmp_path, "its event files are empty")):
        with pytest.raises(ReadError, match=f"^{words}$"):
            read_runs(named, "x", Wishes())
        with pytest.raises(ReadError, match=f"^{words}$"):
            read_runs(named, "x", Wishes(format="tensorboard"))


def test_a_gzip_that_is_cut_off_at_once_is_not_said_to_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00\x00")
    with pytest.raises(ReadError, match=r"^a damaged gzip: nothing of it can be unpacked$"):
        read_runs(path, "x", Wishes())
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(ReadError, match=r"^it is empty$"):
        read_runs(path, "x", Wishes())


def test_deep_nesting_is_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_text('{"log_history": ' + "[" * 100_000)
    with pytest.raises(ReadError, match="not JSON, or cut off"):
        read_runs(path, "x", Wishes())
