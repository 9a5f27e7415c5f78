"""A small autoencoder, trained with Lightning on one process or several.

    python lit.py --devices 2 --epochs 200 --out runs/lit

Each process writes a line for each step and each validation into OUT/log.RANK.jsonl. A file OUT/stop, with a number of
epochs in it or empty, ends the training at the end of an epoch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


class Autoencoder(LightningModule):  # type: ignore[misc]  # mypy does not read Lightning
    def __init__(self, lr: float, pause: float, out: Path) -> None:
        super().__init__()
        self.lr, self.pause, self.out = lr, pause, out
        self.encoder = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 4))
        self.decoder = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 16))
        self.step: dict[str, float] = {}
        self.tested: list[float] = []

    def setup(self, stage: str) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        self.file = (self.out / f"log.{self.global_rank}.jsonl").open("a", buffering=1)

    def write(self, **said: Any) -> None:
        self.file.write(json.dumps(said) + "\n")

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        (x,) = batch
        time.sleep(self.pause)
        loss = functional.mse_loss(self.decoder(self.encoder(x)), x)
        self.step["loss"] = loss.item()
        self.log("train_loss", loss)
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        squares = [float(p.grad.double().pow(2).sum()) for p in self.parameters() if p.grad is not None]
        self.step["grad_norm"], self.step["lr"] = sum(squares) ** 0.5, optimizer.param_groups[0]["lr"]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.write(**self.step)

    def validation_step(self, batch: Any, index: int) -> None:
        (x,) = batch
        loss = functional.mse_loss(self.decoder(self.encoder(x)), x)
        self.tested.append(loss.item())
        self.log("val_loss", loss)

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.write(test_loss=sum(self.tested) / len(self.tested))
        self.tested.clear()

    def on_fit_end(self) -> None:
        weights = b"".join(p.detach().numpy().tobytes() for p in self.parameters())
        self.write(epochs=self.current_epoch, weights=hashlib.sha256(weights).hexdigest())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 500)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class StopFile(Callback):  # type: ignore[misc]
    def __init__(self, path: Path) -> None:
        self.path = path
        self.ends = torch.zeros(1)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        epoch = trainer.current_epoch + 1
        self.ends.fill_(self.path.exists() and epoch >= int(self.path.read_text() or 0))
        if torch.distributed.is_initialized():
            torch.distributed.broadcast(self.ends, 0)
        trainer.should_stop = bool(self.ends.item())


def points(count: int, seed: int) -> TensorDataset:
    draw = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.randn(count, 4, generator=draw) @ torch.randn(4, 16, generator=draw))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--pause", type=float, default=0.006, help="seconds a step that the data takes to come")
    parser.add_argument("--out", type=Path, default=Path("runs/lit"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    seed_everything(13, verbose=False)
    torch.set_num_threads(1)
    loader: Any = DataLoader(points(512, 1), batch_size=16, shuffle=True)
    held_out: Any = DataLoader(points(64, 2), batch_size=16)
    trainer = Trainer(
        accelerator="cpu",
        devices=args.devices,
        strategy="ddp" if args.devices > 1 else "auto",
        max_epochs=args.epochs,
        gradient_clip_val=0.5,
        callbacks=[StopFile(args.out / "stop")],
        default_root_dir=args.out,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Autoencoder(args.lr, args.pause, args.out), loader, held_out)
    if torch.distributed.is_initialized():
        # Gloo's threads need the interpreter to put a tensor away; who destroys the group waits without giving it.
        time.sleep(0.5)


if __name__ == "__main__":
    main()
