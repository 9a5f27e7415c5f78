"""A tiny GPT-2, built from a config, is trained with Hugging Face's Trainer: on one process, or several under torchrun.

    python finetune.py --steps 1000 --out runs/finetune

Writes what the Trainer logs, a line for each step and each evaluation, into OUT/log.jsonl. A file OUT/stop, with a
number of steps in it or empty, ends the training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments, set_seed


class Log(TrainerCallback):  # type: ignore[misc]  # mypy does not read transformers
    def __init__(self, out: Path, pause: float) -> None:
        self.out, self.pause = out, pause
        self.ends = torch.zeros(1)

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        time.sleep(self.pause)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        if state.is_world_process_zero:
            with (self.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(logs) + "\n")

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        stop = self.out / "stop"
        self.ends.fill_(stop.exists() and state.global_step >= int(stop.read_text() or 0))
        if torch.distributed.is_initialized():
            torch.distributed.broadcast(self.ends, 0)
        control.should_training_stop = bool(self.ends.item())


def sentences(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """Numbers that count upwards from somewhere, with a slip now and then."""
    draw = torch.Generator().manual_seed(seed)
    rows = (torch.randint(0, 16, (count, 1), generator=draw) + torch.arange(12)) % 16
    slips = torch.rand(count, 12, generator=draw) < 0.1
    rows[slips] = torch.randint(0, 16, (int(slips.sum()),), generator=draw)
    return [{"input_ids": row, "labels": row} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.01, help="seconds a step that the data takes to come")
    parser.add_argument("--out", type=Path, default=Path("runs/finetune"))
    args = parser.parse_args()
    set_seed(17)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    model: Any = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=12, n_embd=32, n_layer=2, n_head=2))
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir=str(args.out),
            max_steps=args.steps,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=args.accumulate,
            learning_rate=2e-3,
            warmup_steps=10,
            lr_scheduler_type="cosine",
            logging_steps=1,
            eval_strategy="steps",
            eval_steps=10,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=sentences(512, 1),
        eval_dataset=sentences(32, 2),
        callbacks=[Log(args.out, args.pause)],
    )
    trainer.train()
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    if trainer.is_world_process_zero():
        with (args.out / "log.jsonl").open("a") as log:
            said = {"epochs": trainer.state.global_step, "weights": hashlib.sha256(weights).hexdigest()}
            log.write(json.dumps(said) + "\n")
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        # Gloo's threads need the interpreter to put a tensor away; who destroys the group waits without giving it.
        time.sleep(0.5)
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
