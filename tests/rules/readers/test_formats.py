"""One short log of each format, written for this."""

from __future__ import annotations

import gzip
import json
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.rules.readers.written import (
    VERSION,
    event,
    event_file,
    field,
    history,
    one,
    simple,
    tensor,
    values,
    wandb_log,
)

from steersman.rules.facts import JobFacts
from steersman.rules.readers import FORMATS, ReadError, Wishes, read_runs
from steersman.rules.readers.search import search

LOGS = Path(__file__).parent / "logs"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_trainer_state(tmp_path: Path) -> None:
    rows = [
        {"step": 5, "loss": 2.5, "grad_norm": 1.5, "learning_rate": 1e-4, "epoch": 0.1},
        {"step": 10, "loss": 0.0, "grad_norm": math.nan, "learning_rate": 2e-4, "epoch": 0.2},
        {"step": 10, "eval_g0_loss": 2.0, "eval_g1_loss": 3.0, "eval_runtime": 1.0, "epoch": 0.2},
        {"step": 15, "loss": 0.0, "grad_norm": 0.5, "epoch": 0.3},
        {"step": 15, "train_runtime": 9.0, "train_loss": 1.0, "epoch": 0.3},
    ]
    path = write(tmp_path / "trainer_state.json", json.dumps({"log_history": rows, "max_steps": 100}, indent=1))
    run = one(path)
    assert (run.format, run.facts.planned_steps) == ("huggingface", 100)
    assert run.samples.steps.tolist() == [5, 10, 15]
    loss = values(run, "loss")
    assert loss[0] == 2.5
    assert loss[1] is not None
    assert math.isnan(loss[1]), "the trainer's filter hides a loss that is no number"
    assert loss[2] == 0.0, "an exact zero with a finite norm is a loss"
    assert values(run, "val_loss/g0") == [None, 2.0, None]
    assert values(run, "val_loss/g1") == [None, 3.0, None]
    assert values(run, "lr/0") == [1e-4, 2e-4, 2e-4]
    assert any("exactly 0" in note for note in run.notes)


def test_log_history_alone_with_bare_literals(tmp_path: Path) -> None:
    path = write(tmp_path / "h.json", '[{"step": 1, "loss": NaN, "lr": 0.1}, {"step": 2, "loss": Infinity, "lr": 0.1}]')
    run = one(path)
    assert run.format == "huggingface"
    assert [math.isfinite(v or 0.0) for v in values(run, "loss")] == [False, False]
    assert run.read_as["lr/0"] == "lr"


def test_llama_factory_from_two_processes(tmp_path: Path) -> None:
    lines = [
        json.dumps({"current_steps": step, "total_steps": 500, "loss": 1.0 / step + rank, "lr": 1e-5})
        for step in range(10, 210, 10)
        for rank in ([0, 1] if step % 20 else [1, 0])
    ]
    lines.insert(3, lines.pop(6))
    run = one(write(tmp_path / "trainer_log.jsonl", "\n".join(lines)))
    assert (run.format, run.facts.planned_steps) == ("llamafactory", 500)
    assert run.samples.steps.tolist() == list(range(10, 210, 10))
    assert run.notes


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_table(tmp_path: Path, mark: str) -> None:
    lines = ["Step,Train Loss,Grad Norm,Learning Rate,valid/loss", "1,2.5,0.5,1e-3,", "2,2.25,0.25,1e-3,2.0", "", "3"]
    run = one(write(tmp_path / "mine.csv", "\n".join(lines).replace(",", mark)))
    assert run.format == "csv"
    assert run.read_as == {
        "step": "Step",
        "loss": "Train Loss",
        "grad_norm": "Grad Norm",
        "val_loss": "valid/loss",
        "lr/0": "Learning Rate",
    }
    assert values(run, "loss") == [2.5, 2.25]
    assert values(run, "val_loss") == [None, 2.0]


def test_table_with_decimal_commas_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("step;loss\r\n1;0,5\r\n2;0,25\r\n".encode("utf-8-sig"))
    assert values(one(path), "loss") == [0.5, 0.25]


def test_table_without_a_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "0,3.0\n1,2.0\n2,1.5\n")
    run = one(path, columns={"step": "1", "loss": "2"})
    assert values(run, "loss") == [3.0, 2.0, 1.5]
    with pytest.raises(ReadError, match=r"no column reads as a loss; there are '1', '2'; say which with --column"):
        one(path)


def test_numpys_table_has_its_names_in_a_comment(tmp_path: Path) -> None:
    run = one(write(tmp_path / "a.txt", "# step loss\n1 0.5\n2 0.25\n3 0.2\n"), format="csv")
    assert values(run, "loss") == [0.5, 0.25, 0.2]


def test_json_lines_with_nesting_and_a_torn_end(tmp_path: Path) -> None:
    lines = [json.dumps({"iter": k, "train": {"loss": 3.0 - k}, "opt": {"lr": 0.1}}) for k in range(3)]
    run = one(write(tmp_path / "log.jsonl", "\n".join([*lines, lines[0][:20]])))
    assert run.read_as == {"step": "iter", "loss": "train/loss", "lr/0": "opt/lr"}
    assert values(run, "loss") == [3.0, 2.0, 1.0]
    assert any("killed while it wrote" in note for note in run.notes)


def test_one_step_in_all_rows_is_no_step(tmp_path: Path) -> None:
    run = one(write(tmp_path / "a.csv", "step,loss\n" + "".join(f"7,{3 - k / 10}\n" for k in range(20))))
    assert run.samples.steps.tolist() == list(range(20))
    assert run.notes == ("'step' is 7 in all 20 rows and no step: rows are counted instead",)


def test_bytes_of_an_older_windows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("schritt;prüfung;größe\n1;3.0;2\n2;2.5;2\n".encode("latin-1"))
    assert values(one(path, columns={"step": "schritt", "loss": "prüfung"}), "loss") == [3.0, 2.5]


def test_json_lines_of_every_shape_are_opened(tmp_path: Path) -> None:
    lines = ["5", '{"step": 0, "train": {"loss": 3.0}}', '{"step": 1, "train": {"loss": 2.0}, "note": "{"}', "[]"]
    lines += ['{"step": 2, "train/loss": 1.0, "lr": 1}', '{"train/loss": 0.5, "step": 3, "lr": 1e-3}', "{}"]
    run = one(write(tmp_path / "log.jsonl", "\n".join([*lines[1:], lines[0]])))
    assert values(run, "loss") == [3.0, 2.0, 1.0, 0.5]
    assert run.samples.steps.tolist() == [0, 1, 2, 3]
    huge = [f'{{"step": {k}, "loss": {3 - k}, "seed": {10**400}}}' for k in range(3)]
    assert values(one(write(tmp_path / "huge.jsonl", "\n".join(huge))), "loss") == [3.0, 2.0, 1.0]


def test_rows_that_say_which_part_of_the_data_they_are_of(tmp_path: Path) -> None:
    lines = [{"mode": "train", "iter": 1, "loss": 2.0}, {"mode": "val", "iter": 1, "loss": 2.5}]
    run = one(write(tmp_path / "log.jsonl", "\n".join(map(json.dumps, lines))))
    assert values(run, "loss") == [2.0]
    assert values(run, "val_loss") == [2.5]


def test_several_runs_in_one_table(tmp_path: Path) -> None:
    text = "run,step,loss\n" + "".join(f"{name},{k},{3 - k}\n" for name in ("a", "b") for k in range(3))
    runs = read_runs(write(tmp_path / "all.csv", text), "all.csv", Wishes())
    assert [(run.name, run.samples.steps.tolist()) for run in runs] == [("a", [0, 1, 2]), ("b", [0, 1, 2])]


def test_a_trackers_chart_has_a_column_a_run(tmp_path: Path) -> None:
    text = '"Step","x - train/loss","x - train/loss__MIN","y - train/loss"\n1,2.0,1.9,3.0\n2,1.0,0.9,\n'
    runs = read_runs(write(tmp_path / "chart.csv", text), "chart.csv", Wishes())
    assert [(run.name, values(run, "loss")) for run in runs] == [("x", [2.0, 1.0]), ("y", [3.0])]


def test_lightning(tmp_path: Path) -> None:
    text = "epoch,lr-AdamW,step,train_loss_epoch,train_loss_step,val_loss\n,0.001,49,,,\n0,,49,,3.0,\n0,,99,,2.0,\n"
    text += "0,,99,2.5,,\n0,,99,,,2.25\n,0.0005,149,,,\n1,,149,,1.5,\n"
    run = one(write(tmp_path / "metrics.csv", text))
    assert run.format == "lightning"
    assert run.samples.steps.tolist() == [49, 99, 149]
    assert values(run, "loss") == [3.0, 2.0, 1.5]
    assert values(run, "val_loss") == [None, 2.25, None]
    assert values(run, "lr/AdamW") == [0.001, 0.001, 0.0005]


@pytest.mark.parametrize("value", [simple, tensor])
def test_tensorboard(tmp_path: Path, value: Callable[[str, float], bytes]) -> None:
    parts = []
    for step in (0, 1, 200, 70000):
        parts += [event(1.7e9 + step, step, value("train/loss", 1.5 + step)), event(1.7e9, step, value("lr", 0.5))]
    path = event_file(tmp_path / "events.out.tfevents.1", *parts)
    with path.open("ab") as file:
        file.write(event(1.0, 1, value("x", 1.0))[:-9])
    run = one(path)
    assert run.samples.steps.tolist() == [0, 1, 200, 70000]
    assert values(run, "loss") == [1.5, 2.5, 201.5, 70001.5]
    assert values(run, "lr/0") == [0.5] * 4
    assert any("cut off" in note for note in run.notes)


def test_tensorboard_of_a_resumed_job_and_of_a_folder_for_validation(tmp_path: Path) -> None:
    event_file(tmp_path / "train" / "events.out.tfevents.9", event(9.0, 3, simple("epoch_loss", 1.0)))
    event_file(tmp_path / "train" / "events.out.tfevents.1", event(1.0, 1, simple("epoch_loss", 3.0)))
    event_file(tmp_path / "validation" / "events.out.tfevents.2", event(2.0, 1, simple("epoch_loss", 3.5)))
    run = one(tmp_path, format="tensorboard")
    assert run.samples.steps.tolist() == [1, 3]
    assert values(run, "loss") == [3.0, 1.0]
    assert values(run, "val_loss") == [3.5, None]


def test_tensorboards_add_scalars_of_train_and_val_is_one_run(tmp_path: Path) -> None:
    event_file(tmp_path / "events.out.tfevents.1", event(1.7e9, 0, simple("lr", 0.5)))
    for key, start in (("train", 2.0), ("val_wiki", 3.0)):
        rows = [event(1.7e9 + k, k, simple("Loss/all", start - k / 4)) for k in range(4)]
        event_file(tmp_path / f"Loss_all_{key}" / "events.out.tfevents.1", *rows)
    for key in ("train", "val"):
        event_file(tmp_path / f"acc_{key}" / "events.out.tfevents.1", event(1.7e9, 3, simple("acc", 0.5)))
    apart = [event(1.7e9 + k, k, simple("loss", 9.0)) for k in range(4)]
    event_file(tmp_path / "another_val" / "events.out.tfevents.1", *apart)
    joined, other = search(tmp_path, Wishes())
    assert (joined.path, other.path) == (tmp_path, tmp_path / "another_val"), "what is named otherwise is a run apart"
    run = one(tmp_path)
    assert values(run, "loss") == [2.0, 1.75, 1.5, 1.25]
    assert values(run, "val_loss") == [3.0, 2.75, 2.5, 2.25]
    assert values(run, "lr/0") == [0.5] * 4


def test_tensorboards_add_scalars_of_two_trainings_stays_two_runs(tmp_path: Path) -> None:
    event_file(tmp_path / "events.out.tfevents.1", event(1.7e9, 0, simple("lr", 0.5)))
    for key in ("G", "D"):
        rows = [event(1.7e9 + k, k, simple("loss", 2.0)) for k in range(4)]
        event_file(tmp_path / f"loss_{key}" / "events.out.tfevents.1", *rows)
    assert [found.path.name for found in search(tmp_path, Wishes())] == ["loss_D", "loss_G"]


def test_tensorboard_says_what_the_trainer_was_told(tmp_path: Path) -> None:
    said = field(8, json.dumps({"max_steps": 70, "optim": "adamw_torch_fused"}).encode())
    text = field(1, b"args/text_summary") + field(8, field(1, 7) + said)
    run = one(event_file(tmp_path / "events.out.tfevents.1", event(1.0, 0, text), event(1.0, 1, simple("loss", 1.0))))
    assert run.facts == JobFacts("AdamW", 70)


def test_tensorboards_own_file() -> None:
    run = one(next(LOGS.glob("events.out.tfevents*")))
    assert run.samples.steps.tolist() == list(range(0, 200, 10))
    assert run.read_as == {"step": "step", "time": "wall_time", "loss": "train/loss", "lr/0": "train/lr"} or (
        run.read_as == {"step": "step", "loss": "train/loss", "lr/0": "train/lr"}
    )


def test_wandbs_own_file() -> None:
    run = one(LOGS / "run-abc12345.wandb")
    assert (run.name, run.facts) == ("little-run", JobFacts("AdamW", 300))
    assert run.samples.steps.tolist() == list(range(0, 150, 5))
    assert run.read_as["step"] == "train/global_step"
    assert len([v for v in values(run, "val_loss") if v is not None]) == 1


def test_wandb_over_blocks_with_damage(tmp_path: Path) -> None:
    rows = [history(**{"_step": str(k), "loss": str(9.0 - k), "pad": '"' + "x" * 20000 + '"'}) for k in range(8)]
    raw = bytearray(wandb_log(rows))
    path = tmp_path / "run-x.wandb"
    path.write_bytes(raw)
    assert values(one(path), "loss") == [9.0 - k for k in range(8)]
    raw[32768 + 6] = 77
    path.write_bytes(raw[:-30])
    run = one(path)
    assert 0 < len(run.samples) < 8
    assert any("damaged" in note for note in run.notes)


def test_wandb_with_typed_values(tmp_path: Path) -> None:
    def item(name: bytes, typed: bytes) -> bytes:
        return field(1, field(2, name) + typed)

    rows = [field(2, item(b"_step", field(5, k)) + item(b"loss", field(6, 2.0 - k))) for k in range(3)]
    path = tmp_path / "run-x.wandb"
    path.write_bytes(wandb_log(rows))
    assert values(one(path), "loss") == [2.0, 1.0, 0.0]


def test_mlflow(tmp_path: Path) -> None:
    run = tmp_path / "mlruns" / "0" / "abc"
    (run / "metrics" / "train").mkdir(parents=True)
    (run / "params").mkdir()
    write(run / "meta.yaml", "run_id: abc\nrun_name: 'tiny one'\n")
    write(run / "params" / "optimizer", "sgd")
    write(run / "params" / "max_steps", "30")
    write(run / "metrics" / "train" / "loss", "1000 2.5 0\n2000 NaN 5\n3000 1.5 10\n4000 1.")
    write(run / "metrics" / "lr", "1000 0.1 0\n2000 0.1 5\n3000 0.05 10\n")
    found = one(run)
    assert (found.name, found.facts) == ("tiny one", JobFacts("SGD", 30))
    assert found.samples.steps.tolist()[:3] == [0, 5, 10]
    assert values(found, "lr/0")[:3] == [0.1, 0.1, 0.05]


def test_mlflow_with_several_steps_a_millisecond(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    write(tmp_path / "meta.yaml", "run_id: abc\n")
    for name in ("loss", "lr"):
        write(tmp_path / "metrics" / name, "".join(f"{1000 + k // 3} 0.{k + 1} {k}\n" for k in range(9)))
    found = one(tmp_path)
    assert found.samples.steps.tolist() == list(range(9))
    assert values(found, "lr/0") == values(found, "loss")


def test_export_of_our_own(tmp_path: Path) -> None:
    def series(name: str, steps: list[int], cells: list[float | None]) -> str:
        ranks = {"0": {"steps": steps, "times": [1e9 + s for s in steps], "values": cells}}
        return json.dumps({"job": "gpt", "series": name, "unit": None, "ranks": ranks})

    text = series("loss", [0, 1, 2], [3.0, None, 2.0]) + "\n" + series("val_loss/wiki", [1], [2.5])
    run = one(write(tmp_path / "gpt.json", text))
    assert (run.name, run.format) == ("gpt", "series")
    assert [v is not None and math.isnan(v) for v in values(run, "loss")] == [False, True, False]
    assert values(run, "val_loss/wiki") == [None, 2.5, None]
    text += "\n" + series("lr/0", [0, 2], [0.1, 0.1]) + "\n" + series("lr/1.0", [1], [0.2])
    run = one(write(tmp_path / "gan.json", text))
    assert values(run, "lr/0") == [0.1, None, 0.1], "whose rate is in a row tells which optimizer's it is"
    assert values(run, "lr/1.0") == [None, 0.2, None]


def test_a_table_in_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("step,loss\r\n1,0.5\r\n2,0.25\r\n".encode("utf-16"))
    assert values(one(path), "loss") == [0.5, 0.25]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    os.mkfifo(path)
    with pytest.raises(ReadError, match="it is a pipe or a device: write it into a file first"):
        one(path)
    assert list(search(tmp_path, Wishes())) == []


def test_packed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"step,loss\n1,0.5\n2,0.25\n"))
    assert values(one(path), "loss") == [0.5, 0.25]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"  \n", "it is empty"),
        (b"\x7fELF\0\0\0\1", "no log of a known kind"),
        (b"<html><body>loss</body></html>", "no log of a known kind"),
        (b'{"log_history": [{"step": 1', "not JSON, or cut off"),
        (b'{"log_history": []}', "'log_history' is empty: the job had logged nothing yet"),
        (b'{"a": 1}\n{"a": 2}\n', "no column reads as a loss; there are 'a'"),
        (VERSION, "it has no scalar"),
        (b":W&B\xe1\xbe\0", "no row of history"),
        (b"step,loss\n", "it has a header and no row"),
        (b"s," * (1 << 20), "none of its lines has fewer than 1 MiB"),
        (b"\x1f\x8bdamaged", "a damaged gzip"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / ("a.csv" if b"," in content and content[:1] == b"s" else "a.bin")
    path.write_bytes(content)
    with pytest.raises(ReadError, match="^.*" + words.replace("[", r"\[")):
        one(path)


def test_a_quotation_mark_that_is_not_closed_swallows_no_rows(tmp_path: Path) -> None:
    rows = [f"{k},{2.0 - k / 1000}" for k in range(100)]
    rows[10:10] = ['"killed, and', "Traceback (most recent call last):"]
    rows[60:60] = ['"again']
    run = one(write(tmp_path / "a.csv", "\n".join(["step,loss", *rows])))
    assert run.samples.steps.tolist() == list(range(100))
    assert "2 rows have a quotation mark without an end: taken for a sign like any other" in run.notes


def test_a_quoted_cell_may_have_ends_of_lines_in_it(tmp_path: Path) -> None:
    rows = "".join(f'{k},"said ""so"",\nand so",{2.0 - k / 1000}\n' for k in range(100))
    run = one(write(tmp_path / "a.csv", "step,text,loss\n" + rows))
    assert run.samples.steps.tolist() == list(range(100))
    assert not run.notes


def test_a_cell_of_any_length_ends_nothing(tmp_path: Path) -> None:
    long = "x" * 200_000
    for mark in ("", '"'):
        text = f'step,text,loss\n1,a,2\n2,"a",2\n3,{mark}{long},2\n4,a,1\n'
        run = one(write(tmp_path / "a.csv", text))
        assert run.samples.steps.tolist() == [1, 2, 3, 4]


def test_of_a_gzip_that_is_cut_off_what_is_before_the_cut_is_read(tmp_path: Path) -> None:
    packed = gzip.compress("".join(["step,loss\n", *(f"{k},{math.sin(k)}\n" for k in range(20_000))]).encode())
    (tmp_path / "a.csv.gz").write_bytes(packed[: len(packed) // 2])
    run = one(tmp_path / "a.csv.gz")
    assert 5_000 < len(run.samples) < 15_000
    assert any("cut off" in note for note in run.notes)
    (tmp_path / "a.csv.gz").write_bytes(packed)
    assert one(tmp_path / "a.csv.gz").notes == ()


def test_a_table_that_is_too_wide_says_so(tmp_path: Path) -> None:
    names = [*(f"c{k}" for k in range(5_000)), "step", "loss"]
    path = write(tmp_path / "a.csv", "\n".join([",".join(names), *[",".join("1" * 5_002)] * 3]))
    with pytest.raises(ReadError, match=r"no column reads as a loss; .*; it has 5,002 columns: only the first 4,096"):
        one(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="there is no such file"):
        one(tmp_path / "none.json")


def test_a_column_that_is_not_there_is_named_with_those_near_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "step,train_ce\n1,2\n2,1\n")
    with pytest.raises(ReadError, match="there is no column 'train_c' to read as loss; did you mean 'train_ce'"):
        one(path, columns={"loss": "train_c"})


def test_what_the_user_says_goes_first(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "step,loss,ce,lr,v\n1,9,2,0.1,5\n2,9,1,0.1,4\n")
    told = {"loss": "ce", "val_loss/wiki": "v", "lr": ""}
    run = one(path, columns=told, planned_steps=77, optimizer="Lion")
    assert run.facts == JobFacts("Lion", 77)
    assert values(run, "loss") == [2.0, 1.0]
    assert values(run, "val_loss/wiki") == [5.0, 4.0]
    assert not any(name.startswith("lr/") for name in run.samples.columns)


def test_every_format_has_a_name_and_a_text() -> None:
    assert len({form.name for form in FORMATS}) == len(FORMATS)
    assert all(form.text for form in FORMATS)


def test_a_value_between_the_bytes_of_an_event_is_a_float() -> None:
    assert struct.unpack("<f", simple("a", 1.5)[-4:])[0] == 1.5


def test_a_table_whose_last_row_is_cut_off(tmp_path: Path) -> None:
    recording = one(write(tmp_path / "a.csv", "step,loss,lr\n1,2.0,.1\n2,1.9,.1\n3,1.8,.1\n4,1."))
    assert recording.samples.steps.tolist() == [1, 2, 3]
    assert any("the last row is cut off" in note for note in recording.notes)


@pytest.mark.parametrize("rows", [16383, 16384, 16385])
def test_a_cut_off_row_behind_many(tmp_path: Path, rows: int) -> None:
    text = "step,loss,lr\n" + "".join(f"{k},2.0,.1\n" for k in range(rows))
    assert len(one(write(tmp_path / "a.csv", text + f"{rows},1.")).samples) == rows
    assert len(one(write(tmp_path / "b.csv", text + f"{rows},1.\n")).samples) == rows + 1, "short, and whole"
