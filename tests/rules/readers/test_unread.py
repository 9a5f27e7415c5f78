from __future__ import annotations

from pathlib import Path

from tests.rules.readers.written import one


def table(path: Path, header: str) -> Path:
    rows = (";".join(str(3.0 - k / 100 - c / 10) for c in range(header.count(";"))) for k in range(30))
    path.write_text(f"{header}\n" + "".join(f"{k};{row}\n" for k, row in enumerate(rows)))
    return path


def test_columns_that_nobody_reads_are_said(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "it;objective;gn;eta;held_out")
    run = one(path)
    assert run.read_as == {"step": "it", "loss": "objective", "grad_norm": "gn"}
    told = "where the learning rate or a validation loss is among them: --column lr=NAME --column val_loss=NAME"
    assert run.notes == (f"not read: 'eta', 'held_out'; {told}",)
    known = one(path, columns={"lr/0": "eta", "val_loss": "held_out"})
    assert known.read_as["lr/0"] == "eta"
    assert not known.notes


def test_a_few_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    (note,) = one(table(tmp_path / "a.csv", "step;loss;a;b;c;d;e;f;g")).notes
    assert note.startswith("not read: 'a', 'b', 'c', 'd', 'e' and 2 more; where the learning rate or ")


def test_what_is_none_of_what_lacks_is_not_said(tmp_path: Path) -> None:
    assert not one(
        table(tmp_path / "a.csv", "step;loss;train_loss;accuracy;tokens_per_second;gpu_mem;time;epoch")
    ).notes


def test_without_a_validation_loss_alone_only_what_sounds_like_one_is_said(tmp_path: Path) -> None:
    (note,) = one(table(tmp_path / "a.csv", "step;loss;lr;gnorm;entropy;dev")).notes
    assert note == "not read: 'dev'; where a validation loss is among them: --column val_loss=NAME"


def test_what_is_left_out_by_the_user_does_not_lack(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "step;loss;x")
    assert not one(path, columns={"lr/0": "", "grad_norm": "", "val_loss": ""}).notes
