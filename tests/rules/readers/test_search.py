from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rules.readers.written import event, event_file, simple

from steersman.rules.readers import Wishes
from steersman.rules.readers.search import search


def state(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"log_history": [{"step": 1, "loss": 1.0}]}))


def found(folder: Path, **wishes: str) -> list[tuple[str, str]]:
    return [
        (item.path.relative_to(folder).as_posix(), item.form.name if item.form else "")
        for item in search(folder, Wishes(**wishes))  # type: ignore[arg-type]
    ]


def test_a_folder_of_everything(tmp_path: Path) -> None:
    for number in (500, 1000, 90):
        state(tmp_path / "hf" / f"checkpoint-{number}" / "trainer_state.json")
    state(tmp_path / "done" / "trainer_state.json")
    state(tmp_path / "done" / "checkpoint-5" / "trainer_state.json")
    event_file(tmp_path / "tb" / "a" / "events.out.tfevents.1", event(1.0, 1, simple("loss", 1.0)))
    event_file(tmp_path / "tb" / "a" / "events.out.tfevents.2", event(1.0, 2, simple("loss", 1.0)))
    run = tmp_path / "mlruns" / "0" / "abc"
    (run / "metrics").mkdir(parents=True)
    (run / "meta.yaml").write_text("run_name: x\n")
    (run / "metrics" / "loss").write_text("1 2.0 0\n")
    (tmp_path / "mine.csv").write_text("step,loss\n1,2\n")
    (tmp_path / "prices.csv").write_text("day,price\n1,2\n")
    (tmp_path / "config.json").write_text('{\n "lr": 1\n}')
    (tmp_path / "notes.txt").write_text("the loss was low\n")
    (tmp_path / "weights.bin").write_bytes(b"\0" * 100)
    assert found(tmp_path) == [
        ("mine.csv", "csv"),
        ("done/trainer_state.json", "huggingface"),
        ("hf/checkpoint-1000/trainer_state.json", "huggingface"),
        ("mlruns/0/abc", "mlflow"),
        ("tb/a", "tensorboard"),
    ]
    assert found(tmp_path, format="mlflow") == [("mlruns/0/abc", "mlflow")]


def test_what_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.csv").write_text("step,loss\n1,2\n")
    (tmp_path / "others.csv").write_text("step,loss\n1,2\n")

    def head(path: Path) -> bytes:
        if path.name == "others.csv":
            raise PermissionError(13, "no")
        return path.read_bytes()

    monkeypatch.setattr("steersman.rules.readers.search.head", head)
    assert [(item.path.name, item.problem) for item in search(tmp_path, Wishes())] == [
        ("mine.csv", ""),
        ("others.csv", "you may not read it"),
    ]


@pytest.fixture
def nobody() -> Iterator[None]:
    """Root may look everywhere, so for this test nobody is who looks."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    yield
    os.seteuid(mine)


def test_a_folder_that_is_closed_is_said(nobody: None) -> None:
    # Not in pytest's own folder, which is closed to nobody.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "closed").mkdir(mode=0)
        assert [item.problem for item in search(Path(folder), Wishes())] == ["a folder that you may not look into"]


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("step,loss\n1,2\n")
    (tmp_path / "up").symlink_to(tmp_path)
    assert found(tmp_path) == [("mine.csv", "csv")]


def test_what_torchs_writer_puts_aside_is_no_run(tmp_path: Path) -> None:
    def events(*place: str, count: int) -> None:
        series = [event(1.0, k, simple("loss", 1.0)) for k in range(count)]
        event_file(tmp_path.joinpath(*place) / "events.out.tfevents.1", *series)

    events("a", count=3)
    events("a", "1700000000.1", count=1)
    events("b", count=0)
    events("b", "loss_train", count=3)
    events("alone", count=1)
    assert [name for name, _ in found(tmp_path)] == ["a", "alone", "b/loss_train"]
