"""The agent's ears in a process of their own, as in the agent: what there is is taken every 20 ms.

    python -m steersman.agent.measure.ears SOCKET [FACTOR]

With a factor each probe is told to lay it over its learning rate. Says `ready`; answers each line on standard input
with what was heard, by name, as a line of JSON; ends with its input.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from steersman.agent.measure.errors import MeasureError
from steersman.agent.measure.hearing import Heard, Hearing
from steersman.agent.start import agent_environment

_PAUSE = 0.02  # the agent's own


class Ears:
    """Such a process, for as long as the context lasts; its socket's path is `path`.

    Args:
        factor: where given, each probe is told to lay this factor over its learning rate.
    """

    def __init__(self, factor: float | None = None) -> None:
        self.path = ""
        self._more = [] if factor is None else [str(factor)]
        self._folder: Path | None = None
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Ears:
        self._folder = Path(tempfile.mkdtemp(prefix="steersman-measure-"))
        self.path = str(self._folder / "agent.sock")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "steersman.agent.measure.ears", self.path, *self._more],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd="/",
                env=agent_environment(),
                start_new_session=True,  # Ctrl-C is for us; its own end is the end of its input
            )
            self._answer()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def heard(self) -> dict[str, Heard]:
        """What has been heard so far, by the job's name."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write("what\n")
        self._process.stdin.flush()
        return {name: Heard(**counts) for name, counts in json.loads(self._answer()).items()}

    def close(self) -> None:
        """End the process and remove the socket."""
        process, self._process = self._process, None
        if process is not None:
            with process:
                assert process.stdin is not None
                process.stdin.close()
                try:
                    process.wait(5)
                except BaseException:
                    process.kill()
                    raise
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _answer(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            words = self._process.stderr.read().strip().splitlines()
            raise MeasureError(
                f"the agent's part of the measurement ended: {words[-1] if words else 'it said nothing'}"
            )
        return line


def main() -> None:
    """Listen until nobody asks any more."""
    hearing = Hearing(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else None)
    hearing.open()
    print("ready", flush=True)
    while True:
        asked, _, _ = select.select([0], [], [], _PAUSE)
        hearing.tick()
        if asked:
            if not os.read(0, 64):
                break
            while hearing.tick():
                pass
            print(json.dumps({name: asdict(heard) for name, heard in hearing.heard.items()}), flush=True)
    hearing.close()


if __name__ == "__main__":
    main()
