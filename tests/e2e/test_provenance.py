"""Somebody asks a running job where its numbers come from, through every process."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from .conftest import Stack, wait_for

pytestmark = pytest.mark.e2e

SCRIPT = """
    import os, sys, time
    import torch

    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1_000_000)

    def train() -> None:
        optimizer.zero_grad()
        for _ in range(2):
            loss = torch.nn.functional.mse_loss(model(torch.ones(4, 8)), torch.zeros(4, 1))
            (loss / 2).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()

    def validate() -> None:
        with torch.no_grad():
            torch.nn.functional.l1_loss(model(torch.ones(4, 8)), torch.zeros(4, 1))

    rounds = 0
    while not os.path.exists(sys.argv[1]):
        train()
        rounds += 1
        if rounds % 5 == 1:  # in every round, or every one of which there is a row, it would be a part of training
            validate()
        time.sleep(0.02)  # of shorter steps a busy probe thins the rows
"""


def test_a_running_job_says_where_its_numbers_come_from(stack: Stack) -> None:
    stack.start_daemon()
    script, end = stack.script("train.py", SCRIPT), stack.folder / "end"
    child = stack.run("--job", "asked", "--", sys.executable, str(script), str(end))
    wait_for("the first steps", lambda: (job := stack.job("asked")) and (job["step"] or 0) > 3)

    def answered() -> Any:
        told = json.loads(stack.ask("show", "asked", "--provenance", "--json").stdout)
        there = {source["series"]: source["value"] for source in told["sources"]}
        return told if there.get("val_loss") is not None else None

    answer = wait_for("a round with an evaluation", answered)
    words = {source["series"]: source["words"] for source in answer["sources"]}
    values = {source["series"]: source["value"] for source in answer["sources"]}
    lines = script.read_text().splitlines()

    def line(text: str) -> str:
        return f"train.py:{next(n for n, one in enumerate(lines, 1) if text in one)} in train"

    assert "torch.optim.adamw.AdamW (optimizer 0)" in words["optimizer"]
    assert line("optimizer.step()") in words["optimizer"]
    assert words["loss"].startswith("the sum over 2 backward calls, at ")
    assert line(".backward()") in words["loss"]
    assert "divided by 2" in words["loss"]
    assert "made by mse_loss" in words["loss"]
    assert line("mse_loss(") in words["loss"]
    assert line("clip_grad_norm_") in words["grad_norm"]
    assert "l1_loss ran without grad" in words["val_loss"]
    # The numbers are those of the sample itself.
    step = answer["step"]
    for name in ("loss", "grad_norm", "lr/0", "val_loss"):
        series = wait_for(name, lambda name=name: (s := stack.series("asked", name)) and step in s["steps"] and s)  # type: ignore[misc]
        assert series["values"][series["steps"].index(step)] == values[name], name
    page = stack.ask("show", "asked", "--provenance").stdout
    assert "rank 0, step" in page
    other = stack.ask("show", "asked", "--provenance", "--rank", "3", check=False)
    assert (other.returncode, "there are: 0" in other.stderr) == (4, True)
    end.touch()
    assert child.wait(60) == 0
    wait_for("its end", lambda: (job := stack.job("asked")) and job["state"] == "finished")
    late = stack.ask("show", "asked", "--provenance", check=False)
    assert late.returncode == 5
    assert "has ended (finished)" in late.stderr


def test_a_job_that_makes_no_step_is_not_waited_for_for_ever(stack: Stack) -> None:
    stack.start_daemon()
    script = stack.script(
        "stands.py",
        """
        import os, sys, time
        import torch

        model = torch.nn.Linear(8, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for _ in range(3):
            model(torch.ones(4, 8)).sum().backward()
            optimizer.step()
        while not os.path.exists(sys.argv[1]):
            time.sleep(0.01)
        """,
    )
    end = stack.folder / "end"
    child = stack.run("--job", "stands", "--", sys.executable, str(script), str(end))
    wait_for("its steps", lambda: (job := stack.job("stands")) and job["rows"] >= 2)
    asked = stack.ask("show", "stands", "--provenance", "--timeout", "0.5", check=False)
    assert asked.returncode == 1
    assert "finished no step that could be told of within 0.5 s" in asked.stderr
    end.touch()
    assert child.wait(60) == 0
