"""Real logs that people have published, labelled by hand: scored by the corpus's own script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def measure() -> dict[str, Any]:
    """What the script beside the corpus says; where there is no corpus, that."""
    folder = os.environ.get("STEERSMAN_CORPUS", "")
    if not folder:
        return {"left out": "STEERSMAN_CORPUS does not name a folder with labelled logs"}
    script = Path(folder) / "score.py"
    if not script.exists():
        return {"left out": f"{folder} has no score.py"}
    command = f"{sys.executable} -m steersman.cli diagnose --json"
    done = subprocess.run(
        [sys.executable, str(script), "--corpus", folder, "--command", command, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return {"left out": f"score.py ended with {done.returncode}: {done.stderr.strip()[-300:]}"}
    return dict(json.loads(lines[-1]))
