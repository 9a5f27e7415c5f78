"""One job from its first step to its last, through every process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from .conftest import Stack, wait_for

pytestmark = pytest.mark.e2e

# These ask what becomes of rows, not what they cost: on a busy machine the probe would rightly measure less often.
EVERY_ROW = ("--budget", "100000")


def finish(child: subprocess.Popen[str], seconds: float = 90) -> tuple[int, str, str]:
    out, err = child.communicate(timeout=seconds)
    return child.returncode, out, err


def test_every_row_of_a_job_that_knows_nothing_of_us_arrives(stack: Stack, train: Path) -> None:
    stack.start_daemon()
    child = stack.run(
        "--job", "plain", *EVERY_ROW, "--", sys.executable, str(train), "300", "0", str(stack.folder / "w.pt")
    )
    code, out, err = finish(child)
    assert code == 0, err
    assert "trained 300 0.01" in out
    job: Any = wait_for("the job's end", lambda: (j := stack.job("plain")) and j["state"] == "finished" and j)
    assert (job["rows"], job["rows_lost"], job["exit_code"], job["policy"]) == (300, 0, 0, "observe")
    for name in ("loss", "grad_norm", "lr/0"):
        assert stack.series("plain", name)["steps"] == list(range(300)), name
    assert stack.series("plain", "step_time")["steps"] == list(range(1, 300)), "the first step has none before it"
    assert set(stack.series("plain", "lr/0")["values"]) == {0.01}
    losses = stack.series("plain", "loss")["values"]
    assert losses[-1] < losses[0] / 5


def test_observing_leaves_the_result_bit_identical(stack: Stack, train: Path) -> None:
    stack.start_daemon()
    bare, seen = stack.folder / "bare.pt", stack.folder / "seen.pt"
    subprocess.run(
        [sys.executable, str(train), "200", "0", str(bare)], check=True, env=stack.environment(), capture_output=True
    )
    assert finish(stack.run("--", sys.executable, str(train), "200", "0", str(seen)))[0] == 0
    for a, b in zip(torch.load(bare), torch.load(seen), strict=True):
        assert torch.equal(a, b)


def test_a_daemon_killed_in_mid_run_loses_nothing_and_doubles_nothing(stack: Stack, train: Path) -> None:
    stack.start_daemon()
    child = stack.run(
        "--job", "stormy", *EVERY_ROW, "--", sys.executable, str(train), "1500", "0.004", str(stack.folder / "w.pt")
    )
    for steps in (200, 600):
        wait_for(f"{steps} steps", lambda steps=steps: (j := stack.job("stormy")) and (j["step"] or 0) >= steps)  # type: ignore[misc]
        stack.kill_daemon()
        stack.start_daemon()
    assert finish(child)[0] == 0
    wait_for("the job's end", lambda: (j := stack.job("stormy")) and j["state"] == "finished")
    calm = stack.run(
        "--job", "calm", *EVERY_ROW, "--", sys.executable, str(train), "1500", "0", str(stack.folder / "w2.pt")
    )
    assert finish(calm)[0] == 0
    wait_for("the other job's end", lambda: (j := stack.job("calm")) and j["state"] == "finished")
    for name in ("loss", "grad_norm", "lr/0"):
        stormy, still = stack.series("stormy", name), stack.series("calm", name)
        assert stormy["steps"] == still["steps"] == list(range(1500))
        assert stormy["values"] == still["values"]
    a, b = stack.job("stormy"), stack.job("calm")
    assert a
    assert b
    assert [(f["rule"], f["state"], f["first_step"]) for f in a["findings"]] == [
        (f["rule"], f["state"], f["first_step"]) for f in b["findings"]
    ]
    assert a["rows_lost"] == 0


def test_without_a_daemon_the_job_trains_to_its_end_and_its_rows_come_later(stack: Stack, train: Path) -> None:
    child = stack.run(
        "--job", "alone", *EVERY_ROW, "--", sys.executable, str(train), "100", "0", str(stack.folder / "w.pt")
    )
    code, out, err = finish(child)
    assert code == 0
    assert "trained 100" in out
    assert stack.listen in err, "the one line that says that no daemon was there names its address"
    stack.start_daemon()
    second = stack.run("--job", "other", "--", sys.executable, str(train), "50", "0", str(stack.folder / "w2.pt"))
    assert finish(second)[0] == 0
    wait_for(
        "the rows of the job that had no daemon",
        lambda: (j := stack.job("alone")) and j["rows"] == 100 and j["state"] == "finished",
    )
    assert stack.series("alone", "loss")["steps"] == list(range(100))


def test_an_operator_halves_the_lr_and_gives_it_back(stack: Stack, train: Path) -> None:
    stack.start_daemon()
    out = stack.folder / "w.pt"
    child = stack.run("--job", "hand", "--", sys.executable, str(train), "100000", "0.002", str(out))
    wait_for("20 steps", lambda: (j := stack.job("hand")) and (j["step"] or 0) >= 20)
    dry = stack.json("adjust", "hand", "scale", "0.5", "--dry-run")["adjustment"]
    assert dry["total_factor"] == 0.5
    assert stack.json("ledger", "show", "hand")["entries"] == []
    refused = stack.ask("adjust", "hand", "scale", "0.001", "--yes", check=False)
    assert refused.returncode == 5
    assert "0.0625" in refused.stderr, refused.stderr
    stack.json("adjust", "hand", "scale", "0.5", "--over", "5", "--yes")
    wait_for("the halved LR", lambda: (j := stack.job("hand")) and j["lr"] == 0.005)
    entries = stack.json("ledger", "show", "hand")["entries"]
    applied = [e for e in entries if e["state"] == "applied"]
    assert applied
    assert applied[0]["ranks"]["0"]["lr"]
    assert all(e["by"].startswith("operator") for e in entries[:1])
    wait_for(
        "the ramp being over, as the daemon sees it",
        lambda: stack.json("ledger", "show", "hand")["entries"][-1]["state"] in ("probation", "kept"),
    )
    stack.json("adjust", "hand", "release", "--yes")
    wait_for("its own LR again", lambda: (j := stack.job("hand")) and j["lr"] == 0.01 and j["total_factor"] == 1.0)
    # What the job reports is at its end before the daemon has seen that the release is.
    wait_for(
        "the release being over, as the daemon sees it",
        lambda: stack.ask("adjust", "hand", "scale", "0.5", "--yes", check=False).returncode == 0,
    )
    assert stack.json("revert", "hand")["adjustment"]["state"] == "reverted"
    assert "unbroken" in stack.ask("ledger", "verify", "hand").stdout
    Path(f"{out}.stop").touch()
    code, printed, err = finish(child)
    assert code == 0, err
    assert printed.strip().endswith("0.01"), "the job's own LR was never touched"


def test_ctrl_c_ends_the_job_once_and_leaves_no_process(stack: Stack, train: Path) -> None:
    stack.start_daemon()
    child = stack.run(
        "--job", "stopped", "--", sys.executable, str(train), "100000", "0.002", str(stack.folder / "w.pt")
    )
    wait_for("20 steps", lambda: (j := stack.job("stopped")) and (j["step"] or 0) >= 20)
    child.send_signal(signal.SIGINT)
    code, _, err = finish(child)
    assert code in (1, 130, -signal.SIGINT), err
    assert err.count("KeyboardInterrupt") <= 1
    job: Any = wait_for("its end", lambda: (j := stack.job("stopped")) and j["ended_at"] and j)
    assert job["state"] in {"killed", "failed"}
    wait_for(
        "only the daemon and the agent's last seconds", lambda: not [p for p in stack.processes() if "train.py" in p]
    )
    wait_for("the agent to leave", lambda: not [p for p in stack.processes() if "sidecar" in p], 30)
    assert not list((stack.folder / "runtime").rglob("*.sock"))


def test_watch_in_the_script(stack: Stack) -> None:
    stack.start_daemon()
    script = stack.script(
        "watched.py",
        """
        import torch
        from steersman.agent import watch
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        x = torch.randn(64, 4); y = x.sum(1, keepdim=True)
        with watch(optimizer, model, job="by-hand", policy="advise", limits={"max_factor": 2.0}, budget=0.1) as seen:
            for step in range(120):
                loss = ((model(x) - y) ** 2).mean()
                optimizer.zero_grad(); loss.backward(); optimizer.step()
                if step % 40 == 39:
                    seen.log(val_loss=float(step))
        """,
    )
    subprocess.run([sys.executable, str(script)], check=True, env=stack.environment(), timeout=90)
    # One row a step, and one more that brings the validation loss taken after the last.
    job: Any = wait_for("the job", lambda: (j := stack.job("by-hand")) and j["rows"] == 121 and j["ended_at"] and j)
    assert (job["policy"], job["limits"]["max_factor"], job["state"]) == ("advise", 2.0, "finished")
    assert stack.series("by-hand", "val_loss")["values"] == [39.0, 79.0, 119.0]
