"""The demo: one job twice with a learning rate far too hot, one twin watched, one steered, and a third at a good LR."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from steersman.cli import views
from steersman.cli.client import OperatorClient, channel_options
from steersman.cli.errors import CommandError, UnreachableError
from steersman.demo.judge import GOOD_LR, Outcome

WATCHED, STEERED, GOOD = "hot-watched", "hot-steered", "good-lr"
_PR_SET_PDEATHSIG = 1
_QUIET = {"healthy", "undetermined", "too_short"}
_LOUD = {"warning", "critical"}
_MADE = {"applied", "probation", "kept", "reverted"}


@dataclass(frozen=True)
class Settings:
    """What the demo is to do.

    Attributes:
        lr: the learning rate of the twins.
        seed: of the job: its weights and its batches.
        steps: optimizer steps of each run.
    """

    lr: float
    seed: int
    steps: int


@dataclass
class Log:
    """What has been seen of one run while it went on; the last word is its `Outcome`."""

    job: str
    first_verdict: views.Diagnosis | None = None
    last: views.Job | None = None
    loud: set[str] = field(default_factory=set)
    diagnosed_step: int | None = None
    adjustments: dict[str, views.Adjustment] = field(default_factory=dict)

    def see(self, detail: views.JobDetail) -> list[str]:
        """Take in how the run stands; returns what is new, one sentence each."""
        job, news = detail.job, []
        self.last = job
        for finding in job.findings:
            if finding.severity in _LOUD and finding.state in {"firing", "resolved"} and finding.rule not in self.loud:
                self.loud.add(finding.rule)
                news.append(f"step {finding.first_step}: {finding.summary}")
        diagnosis = job.diagnosis
        if diagnosis and diagnosis.verdict not in _QUIET and self.first_verdict is None and self.loud:
            self.first_verdict = diagnosis
            steps = [f.first_step for f in job.findings if f.rule in diagnosis.rules and f.first_step is not None]
            self.diagnosed_step = min(steps, default=diagnosis.at_step)
            news.append(f"diagnosis: {diagnosis.headline} (confidence {diagnosis.confidence:.2f})")
            news += [f"  for: {sentence}" for sentence in diagnosis.evidence_for]
            if diagnosis.recommended_lr:
                r = diagnosis.recommended_lr
                news.append(f"  recommended LR {r.value:.2g} (between {r.low:.2g} and {r.high:.2g})")
        for adjustment in detail.adjustments:
            before = self.adjustments.get(adjustment.id)
            if before is None or before.state != adjustment.state:
                news.append(f"adjustment {sentence_of(adjustment)}")
            self.adjustments[adjustment.id] = adjustment
        return news

    @property
    def progress(self) -> str:
        """How it stands in a few words."""
        if self.last is None or self.last.step is None:
            return f"{self.job} starting"
        loss = "" if self.last.loss is None else f" loss {self.last.loss:.2f}"
        return f"{self.job} step {self.last.step}{loss}"

    def outcome(self, final_loss: float | None, completed: bool) -> Outcome:
        """The last word on this run."""
        diagnosis = self.first_verdict or (self.last.diagnosis if self.last else None)
        made = [sentence_of(a) for a in self.adjustments.values() if a.applied_step is not None or a.state in _MADE]
        return Outcome(
            job=self.job,
            final_loss=final_loss,
            verdict=diagnosis.verdict if diagnosis else "undetermined",
            headline=diagnosis.headline if diagnosis else "nothing was said",
            diagnosed_step=self.diagnosed_step,
            lr_is_the_lever=diagnosis.lr_is_the_lever if diagnosis else None,
            loud=sorted(self.loud),
            adjustments=made,
            completed=completed,
        )


def sentence_of(adjustment: views.Adjustment) -> str:
    """An adjustment in a few words."""
    words = f"{adjustment.kind} {adjustment.value:.3g}" if adjustment.value is not None else adjustment.kind
    where = f" at step {adjustment.applied_step}" if adjustment.applied_step is not None else ""
    detail = f": {adjustment.detail}" if adjustment.detail else ""
    return f"{words}, {adjustment.state}{where}{detail}"


class Voyage:
    """Starts the daemon and the jobs in a folder of their own, and leaves neither process nor file behind.

    Use as a context manager; `poll` says what is new until `running` is false.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.logs = {name: Log(name) for name in (WATCHED, STEERED, GOOD)}
        self.daemon = ""
        self._say = say
        self._folder = Path()
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Voyage:
        # A short path: the agent's socket lives below it, and AF_UNIX names end at 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="steersman-demo-"))
        try:
            self._start_daemon()
            # Both twins at once, the good run beside them: three processes share what cores there are.
            self._start_job(WATCHED, "observe", self.settings.lr)
            self._start_job(STEERED, "auto", self.settings.lr)
            self._start_job(GOOD, "observe", GOOD_LR)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def running(self) -> bool:
        """Whether one of the jobs still runs."""
        return any(child.poll() is None for name, child in self._children.items() if name != "daemon")

    def poll(self, client: OperatorClient) -> Iterator[tuple[str, str]]:
        """What is new of each job, as (job, sentence)."""
        if self._children["daemon"].poll() is not None:
            raise CommandError("the demo's daemon has died", self.tail("daemon"))
        for name, log in self.logs.items():
            try:
                detail = client.job(name)
            except CommandError:
                continue  # not known yet
            for sentence in log.see(detail):
                yield name, sentence

    def outcomes(self) -> dict[str, Outcome]:
        """What came of each run, by job; to be asked when none runs any more."""
        return {name: log.outcome(self._final_loss(name), self._completed(name)) for name, log in self.logs.items()}

    def tail(self, name: str, lines: int = 5) -> str:
        """The last lines that a process printed."""
        path = self._folder / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    @contextlib.contextmanager
    def client(self) -> Iterator[OperatorClient]:
        """An operator's connection to the demo's daemon."""
        import grpc

        with grpc.insecure_channel(self.daemon, options=channel_options(self.daemon)) as channel:
            yield OperatorClient(self.daemon, channel)

    def _start_daemon(self) -> None:
        listen, metrics = free_port(), free_port()
        self.daemon = f"127.0.0.1:{listen}"
        store = f"sqlite:///{self._folder}/store.db"
        self._spawn("daemon", ["serve", "--listen", self.daemon, "--metrics", f"127.0.0.1:{metrics}", "--store", store])
        deadline = time.monotonic() + 30
        with self.client() as client:
            while True:
                try:
                    client.daemon()
                    break
                except UnreachableError:
                    if self._children["daemon"].poll() is not None or time.monotonic() > deadline:
                        raise CommandError("the demo's daemon did not start", self.tail("daemon")) from None
                    time.sleep(0.1)
        self._say(
            f"daemon at {self.daemon}, metrics at http://127.0.0.1:{metrics}/metrics, all state in {self._folder}"
        )

    def _start_job(self, name: str, policy: str, lr: float) -> None:
        train = Path(__file__).with_name("train.py")
        command = [sys.executable, str(train), "--lr", f"{lr:g}", "--seed", str(self.settings.seed)]
        command += ["--steps", str(self.settings.steps), "--out", str(self._folder / f"{name}.json")]
        self._spawn(name, ["run", "--daemon", self.daemon, "--job", name, "--policy", policy, "--", *command])
        self._say(f"started {name}: LR {lr:g}, policy {policy}")

    def _spawn(self, name: str, arguments: Sequence[str]) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            # A session of its own: Ctrl-C reaches only the demo, which then takes them down in order.
            self._children[name] = subprocess.Popen(
                [sys.executable, "-m", "steersman.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment(),
                # Only for the first of them: afterwards this process has threads, and must not run Python in a fork.
                preexec_fn=None if self._children else _end_with_parent,
            )

    def _environment(self) -> dict[str, str]:
        own = {f"XDG_{kind}": str(self._folder / kind.lower()) for kind in ("STATE_HOME", "CACHE_HOME", "RUNTIME_DIR")}
        kept = {k: v for k, v in os.environ.items() if not k.startswith("STEERSMAN") and k != "PYTHONPATH"}
        (self._folder / "runtime_dir").mkdir(mode=0o700, exist_ok=True)
        # torch makes a folder beside ours, and leaves it, where it is not told another place
        own["TORCHINDUCTOR_CACHE_DIR"] = str(self._folder / "inductor")
        return {**kept, **own, "OMP_NUM_THREADS": "1"}

    def _completed(self, name: str) -> bool:
        return self._children[name].poll() == 0 and (self._folder / f"{name}.json").exists()

    def _final_loss(self, name: str) -> float | None:
        try:
            value = json.loads((self._folder / f"{name}.json").read_text())["final_loss"]
        except (OSError, ValueError, KeyError):
            return None
        return float(value) if value is not None else None

    def _stop(self) -> None:
        """Jobs first, then the agent, then the daemon, each asked before it is made to."""
        jobs = [child for name, child in self._children.items() if name != "daemon"]
        _end(jobs, signal.SIGINT)
        if self.daemon and len(self._children) > 1:
            with contextlib.suppress(subprocess.SubprocessError, OSError):
                subprocess.run(
                    [sys.executable, "-m", "steersman.cli", "agent", "stop", "--daemon", self.daemon],
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=15,
                    check=False,
                )
        _end([child for name, child in self._children.items() if name == "daemon"], signal.SIGTERM)
        shutil.rmtree(self._folder, ignore_errors=True)


def _end_with_parent() -> None:
    """In the child: ask to be ended where the demo itself is killed outright (Linux; elsewhere it goes on)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(children: Sequence[subprocess.Popen[bytes]], first: signal.Signals) -> None:
    for sign, patience in ((first, 12.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
        alive = [child for child in children if child.poll() is None]
        for child in alive:
            # To the whole group: the launcher and its job; whoever has gone meanwhile is no matter.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, sign) if sign == signal.SIGKILL else child.send_signal(sign)
        deadline = time.monotonic() + patience
        for child in alive:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))


def free_port() -> int:
    """A port of the loopback interface that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
