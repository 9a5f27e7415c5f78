"""Tiny trainings with the real libraries: a script that the tests start, each training in a process of its own.

steersman run -- trainings.py FOLDER NAME…: each writes into FOLDER/NAME.json what the library itself says of its
training. One called NAME is left as it is; for +NAME the probe of `run` goes away first, and Steersman's callback is
given to it.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import accelerate  # noqa: E402
import lightning  # noqa: E402
import lightning.pytorch  # noqa: E402
import pytorch_lightning  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

# Transformers imports these when they are first asked for: here, before children are forked.
Trainer, TrainingArguments = transformers.Trainer, transformers.TrainingArguments
GPT2Config, GPT2LMHeadModel = transformers.GPT2Config, transformers.GPT2LMHeadModel

Log = dict[str, Any]
CALLBACK = False


class Broken(Exception):
    """What a training here dies of."""


def tokens(seed: int, count: int = 48) -> list[dict[str, torch.Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, 8, (count, 8), generator=draw)
    return [{"input_ids": row, "labels": row} for row in rows]


def points(seed: int, count: int = 48) -> Any:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=draw)
    return list(zip(x, x.sum(1, keepdim=True) + 1, strict=True))


class Regression(torch.nn.Module):
    """Takes what the Trainer hands it, and knows nothing of gradient accumulation."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": torch.nn.functional.mse_loss(self.layer(x), labels)}


def trainer(model: Any, data: Any, **more: Any) -> Any:
    arguments = TrainingArguments(
        **{
            "output_dir": tempfile.mkdtemp(dir=os.environ["HOME"]),
            "max_steps": 12,
            "per_device_train_batch_size": 4,
            "learning_rate": 0.01,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "max_grad_norm": 1.0,
            **{name: value for name, value in more.items() if name != "eval_dataset"},
        }
    )
    callbacks = []
    if CALLBACK:
        from steersman.agent.frameworks.huggingface import SteersmanCallback

        callbacks.append(SteersmanCallback(policy="advise", limits={"max_factor": 2}))
    return Trainer(model, arguments, train_dataset=data, eval_dataset=more.get("eval_dataset"), callbacks=callbacks)


def from_history(trained: Any) -> Log:
    history = trained.state.log_history
    steps = [entry for entry in history if "loss" in entry]
    found: Log = {name: [e[name] for e in steps] for name in ("loss", "grad_norm", "learning_rate")}
    found["losses"] = {}
    for entry in history:
        for name, value in entry.items():
            if name.startswith("eval_") and name.endswith("_loss"):
                found["losses"].setdefault(name[5:-5] if name != "eval_loss" else "", []).append(value)
    return found


def huggingface() -> Log:
    config = GPT2Config(vocab_size=8, n_positions=8, n_embd=16, n_layer=1, n_head=2)
    model = GPT2LMHeadModel(config)
    sets = {"near": tokens(1, 8), "far": tokens(2, 8)}
    trained = trainer(model, tokens(0), eval_dataset=sets, eval_strategy="steps", eval_steps=4)
    trained.train()
    return from_history(trained)


def huggingface_plain() -> Log:
    """A model that is none of transformers' own, and one evaluation set."""
    train, held_out = ([{"x": x, "labels": y} for x, y in points(seed)] for seed in (0, 1))
    trained = trainer(Regression(), train, eval_dataset=held_out, eval_strategy="steps", eval_steps=4)
    trained.train()
    return from_history(trained)


def huggingface_accumulates() -> Log:
    data = [{"x": x, "labels": y} for x, y in points(0, 96)]
    trained = trainer(Regression(), data, gradient_accumulation_steps=2, max_grad_norm=0.0)
    trained.train()
    return from_history(trained)


class Breaks:
    """A data set that breaks off."""

    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index > 20:
            raise Broken
        return {"x": torch.ones(4), "labels": torch.ones(1)}


def huggingface_breaks() -> Log:
    trainer(Regression(), Breaks(), train_sampling_strategy="sequential").train()
    return {}


def module(base: Any, **more: Any) -> Any:
    """A LightningModule of either package, which keeps what it sees in `seen`."""

    class Module(base):  # type: ignore[misc]  # the base is a parameter
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)
            self.seen: Log = {"loss": [], "grad_norm": [], "learning_rate": [], "losses": {}}

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            if more.get("breaks") and index == 3:
                raise Broken
            loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]), batch_size=len(batch[0]))

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            squares = sum(float(p.grad.pow(2).sum()) for p in self.parameters())
            self.seen["grad_norm"].append(squares**0.5)
            self.seen["learning_rate"].append(optimizer.param_groups[0]["lr"])

        def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
            self.seen["loss"].append(float(self.trainer.callback_metrics["train_loss"]))

        def on_validation_end(self) -> None:
            if not self.trainer.sanity_checking:
                losses = self.seen["losses"].setdefault("", [])
                losses.append(float(self.trainer.callback_metrics["val_loss"]))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=0.05)
            schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 10)
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    return Module()


def fit(package: Any, **more: Any) -> Log:
    callbacks = []
    if CALLBACK:
        from steersman.agent.frameworks.lightning import SteersmanCallback

        callbacks.append(SteersmanCallback(policy="advise", limits={"max_factor": 2}))
    lit = module(package.LightningModule, **more)
    trainer = package.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=0.5,
        accumulate_grad_batches=more.get("accumulates", 1),
        num_sanity_val_steps=1,
        callbacks=callbacks,
        default_root_dir=os.environ["HOME"],
    )
    loader: Any = torch.utils.data.DataLoader
    trainer.fit(lit, loader(points(0), batch_size=8), loader(points(1, 16), batch_size=8))
    seen: Log = lit.seen
    return seen


def lightning_fits() -> Log:
    return fit(lightning.pytorch)


def lightning_under_its_old_name() -> Log:
    return fit(pytorch_lightning)


def lightning_accumulates() -> Log:
    return fit(lightning.pytorch, accumulates=2)


def lightning_breaks() -> Log:
    return fit(lightning.pytorch, breaks=True)


def fabric() -> Log:
    guest: Any = lightning.Fabric(accelerator="cpu", devices=1)
    model: Any = torch.nn.Linear(4, 1)
    model, optimizer = guest.setup(model, torch.optim.SGD(model.parameters(), lr=0.05))
    watching: Any = None
    if CALLBACK:
        from steersman.agent.frameworks.fabric import watch

        watching = watch(guest, optimizer, model, policy="advise", limits={"max_factor": 2}, planned_steps=12)
    seen: Log = {"loss": [], "grad_norm": [], "learning_rate": [], "losses": {"": []}}
    loader: Any = torch.utils.data.DataLoader(points(0), batch_size=4)
    for x, y in guest.setup_dataloaders(loader):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        guest.backward(loss)
        norm: Any = guest.clip_gradients(model, optimizer, max_norm=0.5)
        optimizer.step()
        seen["loss"].append(float(loss))
        seen["grad_norm"].append(float(norm))
        seen["learning_rate"].append(0.05)
        if len(seen["loss"]) % 4 == 0:
            evaluate(model, seen, lambda value: watching and watching.log(val_loss=value))
    if watching is not None:
        watching.close()
    return seen


def evaluate(model: Any, seen: Log, log: Callable[[float], object]) -> None:
    with torch.no_grad():
        x, y = (torch.stack(part) for part in zip(*points(1, 16), strict=True))
        value = float(torch.nn.functional.mse_loss(model(x), y))
    seen["losses"][""].append(value)
    log(value)


def accelerates() -> Log:
    accelerator: Any = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model: Any = torch.nn.Linear(4, 1)
    made = torch.optim.AdamW(model.parameters(), lr=0.05)
    schedule: Any = torch.optim.lr_scheduler.LinearLR(made, 1.0, 0.1, 10)
    loader: Any = torch.utils.data.DataLoader(points(0, 96), batch_size=4)
    model, optimizer, loader, schedule = accelerator.prepare(model, made, loader, schedule)
    if CALLBACK:
        from steersman.agent.frameworks.accelerate import watch

        watch(accelerator, optimizer, model, policy="advise", limits={"max_factor": 2}, planned_steps=12)
    seen: Log = {"loss": [], "grad_norm": [], "learning_rate": [], "losses": {"": []}}
    gathered = []
    for x, y in loader:
        with accelerator.accumulate(model):
            loss = torch.nn.functional.mse_loss(model(x), y)
            gathered.append(float(loss))
            accelerator.backward(loss)
            rate = optimizer.param_groups[0]["lr"]
            if accelerator.sync_gradients:
                norm: Any = accelerator.clip_grad_norm_(model.parameters(), 0.5)
                seen["grad_norm"].append(float(norm))
                seen["loss"].append(sum(gathered) / len(gathered))
                seen["learning_rate"].append(rate)
                gathered = []
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if accelerator.sync_gradients and len(seen["loss"]) % 4 == 0:
            evaluate(model, seen, lambda value: accelerator.log({"eval_loss": value, "train_loss": 9.0}))
    accelerator.end_training()
    return seen


TRAININGS: dict[str, Callable[[], Log]] = {
    made.__name__: made
    for made in (
        huggingface,
        huggingface_plain,
        huggingface_accumulates,
        huggingface_breaks,
        lightning_fits,
        lightning_under_its_old_name,
        lightning_accumulates,
        lightning_breaks,
        fabric,
        accelerates,
    )
}


def with_callback() -> None:
    """As if `steersman run` had not been there."""
    global CALLBACK
    from steersman.agent.probe import current

    CALLBACK = True
    for name in [name for name in os.environ if name.startswith("STEERSMAN_") and name != "STEERSMAN_DAEMON"]:
        del os.environ[name]
    probe = current()
    assert probe is not None
    probe.close("detached")


def main() -> Iterator[int]:
    """Each training in a child, which is forked so that the libraries are imported once."""
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        child = os.fork()
        if child:
            yield os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            continue
        torch.manual_seed(0)
        sys.argv[0] = name
        if name.startswith("+"):
            with_callback()
        said: Log = {"pid": os.getpid()}
        (folder / f"{name}.json").write_text(json.dumps(said))
        said.update(TRAININGS[name.removeprefix("+")]())
        (folder / f"{name}.json").write_text(json.dumps(said))
        # What the end of a process means to us, without the seconds that so many modules take to be torn down.
        atexit._run_exitfuncs()
        os._exit(0)


if __name__ == "__main__":
    print(json.dumps(list(main())), flush=True)
