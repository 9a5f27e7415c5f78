"""Programs of others, tried by `run` and by `attach`: what they say of themselves, and what was seen of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from steersman.cli.client import connect
from steersman.cli.views import JobDetail

from .conftest import Stack, wait_for

PROGRAMS = Path(__file__).parent / "programs"
BESIDE = Path(sys.executable).parent
TORCHRUN = (str(BESIDE / "torchrun"), "--standalone", "--nproc-per-node", "2")
# On a busy machine the probe would rightly measure less often; every row and norm is wanted here.
ALL_OF_IT = ("--budget", "1000000")
ENVIRONMENT = {"HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True)
class Program:
    """One program, and where it says what it does.

    Attributes:
        words: its command line, but for where it writes.
        log: its log, or that of each rank with `{}` for the number.
        ranks: how many processes train.
        launched: whether what is started does not train itself.
        folder: where it is started, below the programs; empty for anywhere.
        enough: lines that its log gets between an attachment and a detachment.
        alone: whether it is started without Steersman as well; not where that takes long and adds little.
    """

    words: tuple[str, ...]
    log: str = "log.jsonl"
    ranks: int = 1
    launched: bool = False
    folder: str = ""
    enough: int = 60
    alone: bool = True


@dataclass
class Truth:
    """What one rank of a program logged itself."""

    steps: list[dict[str, float]] = field(default_factory=list)
    tests: dict[int, Any] = field(default_factory=dict)
    """The losses of its evaluations, by the number of steps that had been made."""
    rounds: int = 0
    weights: str = ""

    def of(self, name: str) -> list[float]:
        return [step[name] for step in self.steps]


def truth(path: Path) -> Truth:
    """Read a log, which may still be written to."""
    found = Truth()
    for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
        if not line.endswith("\n"):
            break
        said = json.loads(line)
        if "weights" in said:
            found.rounds, found.weights = said["epochs"], said["weights"]
        elif "loss" in said or "loss_d" in said:
            said.setdefault("lr", said.pop("learning_rate", None))
            found.steps.append(said)
        else:
            for name in ("test_loss", "eval_loss", "evaluated"):
                if name in said:
                    found.tests[len(found.steps)] = said[name]
    return found


class Seen:
    """What the daemon has of a job."""

    def __init__(self, stack: Stack, name: str) -> None:
        self._stack = stack
        self.name = name

    def detail(self) -> JobDetail:
        with connect(self._stack.listen) as client:
            return client.job(self.name)

    def events(self) -> set[str]:
        return {event.kind for event in self.detail().events}

    def names(self) -> set[str]:
        with connect(self._stack.listen) as client:
            return {one.name for one in client.series_list(self.name)}

    def origin(self, rank: int = 0) -> int:
        """The number of the first step that was seen."""
        return min(self._by_number("lr/0", rank), default=0)

    def series(self, name: str, rank: int = 0) -> dict[int, float]:
        """The values by step since the first that was seen, of two rows with one step the later.

        Nothing where there is no such series.
        """
        origin = self.origin(rank)
        return {step - origin: value for step, value in self._by_number(name, rank).items()}

    def _by_number(self, name: str, rank: int) -> dict[int, float]:
        if name not in self.names():
            return {}
        with connect(self._stack.listen) as client:
            ranks = client.series(self.name, name, 0).ranks
        found = ranks.get(str(rank))
        return {} if found is None else dict(zip(found.steps, found.values, strict=True))

    def ended(self, state: str) -> JobDetail:
        """Wait until it is over, as was to be expected."""
        detail: JobDetail = wait_for("the job's end", lambda: (d := self.detail()).job.ended_at and d)
        assert (detail.job.state, detail.job.rows_lost) == (state, 0), detail.job.end_message
        return detail


class Trial:
    """A program that is started several times: attached to, under `run`, and left alone.

    Args:
        stack: a daemon, and what is started around it.
        program: what is started.
        name: of the jobs.
    """

    def __init__(self, stack: Stack, program: Program, name: str) -> None:
        self._stack = stack
        self._program = program
        self.name = name

    def out(self, way: str) -> Path:
        """Where it writes when it is started in this way."""
        path = self._stack.folder / f"{self.name}-{way}"
        path.mkdir(exist_ok=True)
        return path

    def truth(self, way: str, rank: int = 0) -> Truth:
        """What a rank said of itself."""
        return truth(self.out(way) / self._program.log.format(rank))

    def start(self, way: str, rounds: int | None = None, run: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start it, to end after so many rounds as fast as it can, or when it is told to.

        Args:
            way: names where it writes.
            rounds: after how many it ends.
            run: words before its own.
        """
        out = self.out(way)
        if rounds is not None:
            (out / "stop").write_text(str(rounds))
        words = [*run, *self._program.words, "--out", str(out)]
        if rounds is not None:
            words += ["--pause", "0"]
        child = subprocess.Popen(
            words,
            cwd=PROGRAMS / self._program.folder if self._program.folder else self._stack.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._stack.environment({**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"}),
            start_new_session=True,
        )
        self._stack.children.append(child)
        return child

    def run(self, rounds: int | None = None, *words: str) -> subprocess.Popen[str]:
        """Start it under `run`."""
        command = (sys.executable, "-m", "steersman.cli", "run", "--quiet", *ALL_OF_IT, *words)
        return self.start("run", rounds, (*command, "--job", f"{self.name}-run", "--"))

    def lines(self, way: str) -> int:
        """How long its log is."""
        path = self.out(way) / self._program.log.format(0)
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def grown(self, way: str, lines: int) -> None:
        """Wait until its log has so many lines more."""
        before = self.lines(way)
        wait_for("more steps", lambda: self.lines(way) >= before + lines, 150)

    def attach(self, child: subprocess.Popen[str]) -> Seen:
        """Attach to it while it runs."""
        wait_for("its first steps", lambda: self.lines("attach") >= 10 or child.poll() is not None, 150)
        everyone = ["--all"] if self._program.ranks > 1 or self._program.launched else []
        seen = Seen(self._stack, f"{self.name}-attach")
        self._stack.ask("attach", str(child.pid), *everyone, *ALL_OF_IT, "--job", seen.name)
        return seen

    def attached(self) -> Seen:
        """The whole of it: attach, watch for a while, detach, go on for a while, end."""
        child = self.start("attach")
        seen = self.attach(child)
        self.grown("attach", self._program.enough)
        self._stack.ask("detach", seen.name)
        seen.ended("detached")
        self.grown("attach", 3)
        (self.out("attach") / "stop").touch()
        self.finish(child)
        return seen

    def finish(self, child: subprocess.Popen[str]) -> None:
        """Wait until it has ended well."""
        out, err = child.communicate(timeout=240)
        assert child.returncode == 0, (out, err)

    def beside(self) -> Seen:
        """After `attached`: the same rounds under `run`, and alone; all have to end with the same weights."""
        rounds = self.truth("attach").rounds
        assert rounds > 0
        children = [self.run(rounds)]
        if self._program.alone:
            children.append(self.start("alone", rounds))
        for child in children:
            self.finish(child)
        ways = ("attach", "run", "alone") if self._program.alone else ("attach", "run")
        assert {self.truth(way).rounds for way in ways} == {rounds}
        assert len({self.truth(way).weights for way in ways}) == 1
        seen = Seen(self._stack, f"{self.name}-run")
        job = seen.ended("finished").job
        assert (job.way_in, job.exit_code) == ("run", 0)
        assert (job.world_size, job.ranks_seen) == (self._program.ranks,) * 2
        return seen


def begun(said: Truth, seen: Seen, rank: int = 0) -> int:
    """Which of its steps was the first of a job that was attached to: where all losses are the program's own."""
    losses = seen.series("loss", rank)
    assert losses
    assert min(losses) == 1, "how much of the first round was seen nobody knows"
    assert list(losses) == list(range(1, len(losses) + 1)), "no step is missing"
    values = list(losses.values())
    own = said.of("loss")
    fits = [at for at in range(len(own) - len(values) + 1) if own[at : at + len(values)] == pytest.approx(values)]
    assert len(fits) == 1, (own, values)
    return fits[0] - 1


def check_steps(said: Truth, seen: Seen, rank: int = 0, norm: bool = True, attached: bool = False) -> int:
    """Each step's loss, norm and LR is the program's own, and of none there are two; which step was the first."""
    first = begun(said, seen, rank) if attached else 0
    assert seen.origin(rank) in (0, first), "an optimizer that counts its steps says where an attachment begins"
    rates = seen.series("lr/0", rank)
    assert list(rates) == list(range(len(rates)))
    steps = said.steps[first : first + len(rates)]
    assert len(steps) == len(rates)
    if not attached:
        assert len(steps) == len(said.steps)
    assert list(rates.values()) == pytest.approx([step["lr"] for step in steps])
    for name in ("loss", "grad_norm") if norm else ("loss",):
        own = {at: step[name] for at, step in enumerate(steps) if at or not attached}
        assert seen.series(name, rank) == pytest.approx(own, rel=1e-5), name
    return first


def check_tests(tests: Mapping[int, float], found: Mapping[int, float], first: int, steps: int) -> None:
    """Each evaluation's loss stands on the step after it, or on the last where none followed.

    Args:
        tests: what the program said, by its steps until then.
        found: what was seen, by step.
        first: which of the program's steps was the first that was seen.
        steps: how many were.
    """
    # Before the second step that was seen nobody knows how much of an evaluation that was.
    after = 1 if first else 0
    own = {min(at - first, steps - 1): loss for at, loss in tests.items() if after <= at - first <= steps}
    if first:
        # One that came right after the last step before the detachment may have come after that as well.
        own = {step: loss for step, loss in own.items() if step < steps - 1 or step in found}
    assert found == pytest.approx(own, rel=1e-5)
