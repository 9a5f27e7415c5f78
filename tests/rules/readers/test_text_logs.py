"""Logs that are text for people: Megatron, nanoGPT, Coqui, and any line with names and numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.rules.readers.written import (
    one,
    values,
)

from steersman.rules.readers import Wishes, read_runs


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_megatron(tmp_path: Path) -> None:
    line = (
        "[2024-01-01 00:00:00]  iteration {0:8d}/    1000 | consumed samples: 1024 | elapsed time (ms): 14.6"
        " | learning rate: 1.875E-05 | lm loss: {1} | loss scale: 4096.0 | grad norm: 6.5 | skipped iterations: "
        "  1 | number of nan iterations:   0 |\n"
    )
    text = "WARNING: hello\n" + line.format(10, "9.5E+00") + line.format(20, "nan")
    text += "-----\n validation loss at iteration 20 | lm loss value: 9.25E+00 | lm loss PPL: 1.0E+04 | \n-----\n"
    run = one(write(tmp_path / "x.out", text))
    assert (run.format, run.facts.planned_steps) == ("megatron", 1000)
    assert run.samples.steps.tolist() == [10, 20]
    assert values(run, "loss")[0] == 9.5
    assert values(run, "val_loss") == [None, 9.25]
    assert values(run, "loss_scale") == [4096.0, 4096.0]
    assert values(run, "skipped_steps") == [1.0, 1.0]
    assert run.read_as["lr/0"] == "learning rate"


def test_nanogpt(tmp_path: Path) -> None:
    text = "step 0: train loss 4.19, val loss 4.2\niter 0: loss 4.21, time 4.86ms, mfu -100.00%\n"
    text += "iter 10: loss 3.4, time 1\n"
    run = one(write(tmp_path / "x.txt", text))
    assert run.format == "nanogpt"
    assert values(run, "loss") == [4.21, 3.4]
    assert values(run, "val_loss") == [4.2, None]


def test_modded_nanogpt_behind_its_source(tmp_path: Path) -> None:
    text = "import os\n" + "x = 'step'  # loss: 1\n" * 40000
    text += "step:0/1390 val_loss:10.8 train_time:0ms step_avg:nanms\nstep:1/1390 train_loss:10.5 train_time:32ms\n"
    run = one(write(tmp_path / "x.txt", text))
    assert (run.format, run.facts.planned_steps) == ("modded-nanogpt", 1390)
    assert values(run, "loss") == [None, 10.5]
    assert values(run, "val_loss") == [10.8, None]


@pytest.mark.parametrize(
    "line",
    [
        "step {0} loss tensor({1}, device='cuda:0', grad_fn=<NllLossBackward0>) lr 0.1\n",
        "step {0} loss tensor({1}) lr 0.1\n",
        "step {0} loss {1} lr 0.1\n",
        "{{'step': {0}, 'loss': np.float64({1}), 'lr': np.float32(0.1)}}\n",
        "step {0}: loss=tensor({1}, dtype=torch.float64), learning rate 1e-1, time 3\n",
    ],
)
def test_numbers_as_they_are_printed_without_a_sign_before_them(tmp_path: Path, line: str) -> None:
    run = one(write(tmp_path / "x.log", "".join(line.format(k, 2.0 - k / 8) for k in range(1, 9))))
    assert run.samples.steps.tolist() == list(range(1, 9))
    assert values(run, "loss") == [2.0 - k / 8 for k in range(1, 9)]
    assert values(run, "lr/0") == [0.1] * 8


@pytest.mark.parametrize(
    "words",
    ["loss 0.5 (plateau: lr 2 times reduced)", "loss 0.5 and reduced the lr 2 times", "loss 0.5 base lr 0.1"],
)
def test_a_rate_in_prose_is_none(tmp_path: Path, words: str) -> None:
    run = one(write(tmp_path / "x.log", "".join(f"step {k} {words}\n" for k in range(1, 9))))
    assert values(run, "loss") == [0.5] * 8
    assert "lr/0" not in run.samples.columns


def test_a_table_whose_header_stands_twice_is_one(tmp_path: Path) -> None:
    rows = "".join(f"{k}\t{2.0 - k / 8}\t0.1\n" for k in range(1, 9))
    run = one(write(tmp_path / "x.txt", "step\tloss\tlr\n" * 2 + rows))
    assert values(run, "loss") == [2.0 - k / 8 for k in range(1, 9)]


def coqui(step: int, *cells: str) -> str:
    head = f"\x1b[1m   --> TIME: 2024-08-03 02:51:47 -- STEP: 0/14 -- GLOBAL_STEP: {step}\x1b[0m\n"
    return head + "".join(f"     | > {cell}\n" for cell in cells) + "\n"


def test_coqui(tmp_path: Path) -> None:
    text = " > EPOCH: 0/50\n\n > TRAINING (2024-08-05 17:17:08) \n"
    text += coqui(0, "loss_text_ce: 0.03  (0.03)", "loss: 4.5  (4.5)", "current_lr: 5e-06 ")
    text += coqui(50, "loss: 4.25  (4.4)", "current_lr: 5e-06 ")
    text += "   --> TRAIN PERFORMACE -- EPOCH TIME: 8.43 sec -- GLOBAL_STEP: 50\n     | > avg_loss: 4.4\n"
    text += " > EVALUATION \n\n   --> STEP: 3\n     | > loss: 99.0  (99.0)\n"
    text += "  --> EVAL PERFORMANCE\n     | > avg_loss: 4.1 (-0.07)\n\n > EPOCH: 1/50\n"
    run = one(write(tmp_path / "trainer_0_log.txt", text))
    assert run.format == "coqui"
    assert run.samples.steps.tolist() == [0, 50]
    assert values(run, "loss") == [4.5, 4.25]
    assert values(run, "val_loss") == [None, 4.1]
    assert values(run, "lr/0") == [5e-6, 5e-6]


def test_coqui_with_two_optimizers(tmp_path: Path) -> None:
    cells = [f"{name}_{k}: {value + k}  (1.0)" for k in (0, 1) for name, value in (("loss", 2.0), ("grad_norm", 7.0))]
    text = "".join(coqui(step, *cells, "current_lr_0: 0.0002", "current_lr_1: 0.0001") for step in (25, 50))
    runs = read_runs(write(tmp_path / "x.txt", text), "x.txt", Wishes())
    assert [run.name for run in runs] == ["optimizer 0", "optimizer 1"]
    assert [values(run, "loss") for run in runs] == [[2.0, 2.0], [3.0, 3.0]]
    assert [values(run, "lr/0") for run in runs] == [[2e-4, 2e-4], [1e-4, 1e-4]]


@pytest.mark.parametrize(
    "line",
    [
        "Epoch 1 | step {0} | loss: {1} | lr: 1e-3",
        "INFO:train:step={0} loss={1}, lr=0.001",
        "{{'step': {0}, 'loss': {1}, 'lr': 0.001}}",
        "iter {0} loss {1} lr=1e-3",
        "step:  {0}  loss:  {1:7.4f}  lr: 1e-3",
        "step = {0}   loss   =   {1:.4f}   lr   =   1e-3",
        "step:\t{0}\tloss:\t{1}\tlr:\t1e-3",
        "\x1b[31mstep: {0:2d}  \x1b[32mloss: {1:8.4f}  \x1b[34mlr:   0.001\x1b[0m",
    ],
)
def test_text_of_any_kind(tmp_path: Path, line: str) -> None:
    text = "hello\n" + "\n".join(line.format(k, 3.0 - k / 4) for k in range(6))
    run = one(write(tmp_path / "train.log", text))
    assert run.format == "text"
    assert run.samples.steps.tolist() == list(range(6))
    assert values(run, "loss") == [3.0 - k / 4 for k in range(6)]
    assert values(run, "lr/0") == [0.001] * 6


def test_numbers_that_are_padded_are_read_on_either_side_of_ten(tmp_path: Path) -> None:
    text = "\n".join(f"step: {k:2d}  loss: {12.0 - k / 4:7.4f}" for k in range(16))
    run = one(write(tmp_path / "train.log", text))
    assert values(run, "loss") == [12.0 - k / 4 for k in range(16)]
    assert run.notes == ()


def test_lines_that_look_like_those_read_and_are_left_out_are_told(tmp_path: Path) -> None:
    lines = [f"step: {k}  loss: {3.0 - k / 4 if k % 2 else '*****'}" for k in range(10)]
    text = "\n".join(["loss function: cross entropy", *lines, *["loss scaling is off"] * 9])
    run = one(write(tmp_path / "train.log", text))
    assert run.samples.steps.tolist() == [1, 3, 5, 7, 9]
    assert run.notes == (
        "5 lines look like the 5 that were read but have no number after the loss: left out, the first is "
        "'step: 0  loss: *****'",
    )
