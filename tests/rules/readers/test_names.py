from __future__ import annotations

import pytest

from steersman.rules.readers import names
from steersman.rules.readers.naming import decide
from steersman.rules.readers.table import Table
from steersman.rules.samples import Column


def chosen(*columns: str) -> dict[str, str]:
    return dict(decide(Table(3, {name: Column.full([1.0, 2.0, 3.0]) for name in columns}), {}).chosen)


@pytest.mark.parametrize(
    "loss",
    [
        "loss",
        "train_loss",
        "train/loss",
        "training_loss",
        "lm loss",
        "Loss/train",
        "losses/total_loss_custom",
        "Train Loss",
    ],
)
@pytest.mark.parametrize("norm", ["grad_norm", "gnorm", "grad/norm", "total_norm", "train/grad_norm", "Gradient Norm"])
@pytest.mark.parametrize("step", ["step", "global_step", "iteration", "iter", "trainer/global_step", "_step"])
def test_known_names(loss: str, norm: str, step: str) -> None:
    found = chosen(step, loss, norm, "Learning Rate", "accuracy")
    assert found == {"step": step, "loss": loss, "grad_norm": norm, "lr/0": "Learning Rate"}


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("val_loss", "val_loss"),
        ("eval_loss", "val_loss"),
        ("eval/loss", "val_loss"),
        ("validation/loss", "val_loss"),
        ("loss/val", "val_loss"),
        ("valid_loss_epoch", "val_loss"),
        ("test_loss", "val_loss"),
        ("held_out_loss", "val_loss"),
        ("hold-out loss", "val_loss"),
    ],
)
def test_validation(name: str, series: str) -> None:
    assert chosen("step", "loss", name)[series] == name


def test_several_sets_are_never_one_series() -> None:
    found = chosen("step", "loss", "eval_loss", "eval_a_loss", "val/b/loss", "best_val_loss", "test_loss")
    assert {k: v for k, v in found.items() if k.startswith("val_loss")} == {
        "val_loss": "eval_loss",
        "val_loss/a": "eval_a_loss",
        "val_loss/b": "val/b/loss",
    }


def test_rates_of_groups() -> None:
    found = chosen("step", "loss", "lr-AdamW/pg1", "lr-AdamW/pg2", "lr_scheduler_step")
    assert found["lr/AdamW/pg1"] == "lr-AdamW/pg1"
    assert found["lr/AdamW/pg2"] == "lr-AdamW/pg2"
    assert len([name for name in found if name.startswith("lr/")]) == 2


def test_what_is_no_loss() -> None:
    for name in ("loss_scale", "held_out_loss", "val_loss", "loss_weight", "min_loss", "accuracy"):
        assert not names.is_some_loss(name), name


def test_a_loss_by_batch_goes_before_one_by_epoch() -> None:
    few = Column.full([1.0, 0.0, 0.0])
    few.present[1:] = False
    table = Table(
        3, {"step": Column.full([1.0, 2.0, 3.0]), "train_loss": few, "train_loss_step": Column.full([3.0] * 3)}
    )
    assert decide(table, {}).chosen["loss"] == "train_loss_step"
