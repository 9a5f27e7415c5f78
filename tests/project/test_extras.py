"""What an extra promises runs with that extra alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

# top-level modules that other packages of the development environment bring
FOREIGN = (
    "alembic", "grpc_health", "grpc_reflection", "prometheus_client", "sqlalchemy", "structlog", "textual", "torch",
    "zstandard", "transformers", "lightning", "accelerate", "pandas", "tensorboard", "wandb", "mlflow",
)  # fmt: skip


def packages(lines: list[str]) -> set[str]:
    return {re.split(r"[<>=\[ ]", line)[0] for line in lines}


def test_the_monitor_has_what_diagnose_has(pyproject: dict[str, Any]) -> None:
    extras = pyproject["project"]["optional-dependencies"]
    assert "steersman[diagnose]" in extras["monitor"]
    assert packages(extras["diagnose"]) == {"cel-expr-python", "numpy", "pyyaml", "scipy"}
    assert not packages(extras["diagnose"]) & packages(extras["monitor"]), "named twice"


def test_diagnose_needs_its_extra_alone(tmp_path: Path) -> None:
    log = tmp_path / "a.csv"
    log.write_text("step,loss\n" + "".join(f"{k},{4.0 / (k + 1)}\n" for k in range(80)))
    database = tmp_path / "steersman.db"
    database.write_bytes(b"SQLite format 3\0")
    program = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FOREIGN!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.partition(".")[0])
sys.meta_path.insert(0, Absent())
from steersman.cli.main import main
main()
"""
    words = ["diagnose", "--html", str(tmp_path / "a.html"), str(log), str(database)]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "pip install 'steersman[monitor]'" in " ".join(done.stdout.split())
    assert "1 run, 1 could not be read" in done.stdout
