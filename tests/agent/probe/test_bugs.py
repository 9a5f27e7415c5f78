"""A bug in any function of the probe stays in the probe.

The functions are found by walking the package. Left out are those that are the border itself: they catch.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import pytest
import torch
import torch.optim.optimizer as optimizers
from tests.agent.probe.loops.accumulated import Accumulated
from tests.agent.probe.loops.changing import Resumed
from tests.agent.probe.loops.clipped import Clipped
from tests.agent.probe.loops.closures import Closure
from tests.agent.probe.loops.loop import Loop
from tests.agent.probe.loops.scaled import Scaled, ScaledSkipping
from tests.agent.probe.loops.several import Gan

import steersman.agent.probe as package
from steersman.agent.probe import current, packet

# Where the function that closes the socket is what is broken, the interpreter says so when it finds the socket.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

BORDER = "border"  # the word in the comment beside each `except Exception`
# Called while somebody is told that it is not possible, or before there is a job: they may raise.
BEFORE_THE_JOB = {"install.install", "install.current", "probe.Probe.start", "probe.Probe.__init__"}


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(package.__path__):
        yield importlib.import_module(f"{package.__name__}.{found.name}")


def functions() -> dict[str, tuple[Any, str]]:
    """Every function and method by name, with what holds it."""
    found: dict[str, tuple[Any, str]] = {}
    for module in modules():
        short = module.__name__.rsplit(".", 1)[1]
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) != module.__name__:
                continue
            if isinstance(value, FunctionType):
                found[f"{short}.{name}"] = (module, name)
            elif isinstance(value, type):
                for inner, held in vars(value).items():
                    code = held.fget if isinstance(held, property) else held
                    if isinstance(code, FunctionType) and code.__code__.co_filename == module.__file__:
                        found[f"{short}.{name}.{inner}"] = (value, inner)
    return {
        name: place
        for name, place in found.items()
        if name not in BEFORE_THE_JOB and BORDER not in inspect.getsource(code_of(*place))
    }


def code_of(holder: Any, name: str) -> Any:
    value = inspect.getattr_static(holder, name)
    return value.fget if isinstance(value, property) else value


FUNCTIONS = functions()


@pytest.fixture(autouse=True)
def _torch_as_it_was() -> Iterator[None]:
    """Where what takes the probe off is what is broken, it stays on: the next test must not find it."""
    clip = importlib.import_module("torch.nn.utils.clip_grad")
    holders: list[Any] = [torch.autograd, torch.nn.functional, clip, torch.nn.utils, torch.amp.GradScaler]
    before = [dict(vars(holder)) for holder in holders]
    hooks = optimizers._global_optimizer_pre_hooks
    hooked = dict(hooks)
    yield
    for holder, had in zip(holders, before, strict=True):
        for name, value in had.items():
            if vars(holder).get(name) is not value:
                setattr(holder, name, value)
    for key in [key for key in hooks if key not in hooked]:
        del hooks[key]


class Bug(Exception):
    """Ours."""


def break_it(monkeypatch: pytest.MonkeyPatch, name: str, every: int = 1) -> list[int]:
    """Have a function raise at every so many calls; the list grows with each call."""
    holder, attribute = FUNCTIONS[name]
    original = inspect.getattr_static(holder, attribute)
    code = code_of(holder, attribute)
    calls: list[int] = []

    @functools.wraps(code)
    def broken(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) % every == 0:
            raise Bug(name)
        return code(*args, **kwargs)

    value: Any = property(broken) if isinstance(original, property) else broken
    if isinstance(holder, ModuleType):
        # Others have imported it by name.
        for module in modules():
            if vars(module).get(attribute) is original:
                monkeypatch.setattr(module, attribute, value)
    else:
        monkeypatch.setattr(holder, attribute, value)
    return calls


KINDS: list[Callable[[], Loop]] = [
    Clipped,
    Accumulated,
    Scaled,
    ScaledSkipping,
    Gan,
    Resumed,
    lambda: Closure(lambda params: torch.optim.LBFGS(params, lr=0.1, max_iter=3)),
]


class Life:
    """Everything that a job does with which we have to do."""

    def __init__(self) -> None:
        self.loops = [make() for make in KINDS]
        self.lrs = [[group["lr"] for group in loop.optimizer.param_groups] for loop in self.loops]
        self.log: Callable[[float], None] = lambda value: None
        self.see: Callable[[Any], None] = lambda optimizer: None

    def go(self, rounds: int = 8) -> list[torch.Tensor]:
        for loop in self.loops:
            self.see(loop.optimizer)
        for index in range(rounds):
            for loop, lrs in zip(self.loops, self.lrs, strict=True):
                loop.round()
                assert [group["lr"] for group in loop.optimizer.param_groups] == lrs
                if index % 4 == 2:
                    with torch.no_grad():
                        loop.loss()
                    loop.optimizer.state_dict()
                if index == 5:
                    self.log(0.5)
        return [weight for loop in self.loops for weight in loop.weights()]


@pytest.fixture(autouse=True)
def _taken_out(request: pytest.FixtureRequest) -> Iterator[None]:
    """A close that a bug has interrupted is made again without the bug, so that one test does not spoil the next."""
    yield
    probe = current()
    if probe is not None:
        probe._hooks.closed = False
        probe.close()


@pytest.fixture(scope="module")
def bare() -> list[torch.Tensor]:
    return Life().go()


def test_the_walk_finds_every_place() -> None:
    assert len(FUNCTIONS) > 100
    assert {"steps.Steps.before", "capture.Capture.backward", "overlay.Overlay.lay"} <= set(FUNCTIONS)


@pytest.mark.parametrize("every", [1, 3], ids=["always", "every third time"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_result_is_the_same(
    name: str, every: int, start: Any, receiver: Any, bare: Any, monkeypatch: Any, capfd: Any
) -> None:
    probe = start(sample_every=3)
    life = Life()
    life.log, life.see = lambda value: probe.log(val_loss=value), probe.see
    break_it(monkeypatch, name, every)
    assert all(map(torch.equal, life.go(), bare))
    probe.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_learning_rate_is_the_jobs_own_after_every_step(
    name: str, start: Any, receiver: Any, monkeypatch: Any
) -> None:
    probe = start()
    loops = [Clipped(), Closure(lambda params: torch.optim.SGD(params, lr=0.05))]
    loops[0].round()
    receiver.command(factor=0.5, over_steps=500)
    rounds = 0
    while "applied" not in receiver.states():
        loops[0].round()
        rounds += 1
        assert rounds < 10_000
    break_it(monkeypatch, name, 2)
    for index in range(12):
        for loop in loops:
            loop.round()
            assert loop.optimizer.param_groups[0]["lr"] == 0.05
            if index % 4 == 1:
                assert loop.optimizer.state_dict()["param_groups"][0]["lr"] == 0.05
    probe.close()
    for loop in loops:
        loop.round()
        assert loop.optimizer.param_groups[0]["lr"] == 0.05


def spoken(name: str) -> bool:
    """Whether what is broken is not the very way on which it would be said."""
    unspoken = ("channel.", "packet.", "guard.", "introduction.")
    return not (name.startswith(unspoken) or "hello" in name or "say" in name)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if spoken(name)])
def test_a_bug_that_shows_is_said(name: str, start: Any, receiver: Any, monkeypatch: Any) -> None:
    """Or the agent has every sample that there was: nothing is lost in silence."""
    probe = start(sample_every=3)
    loop = Clipped()
    calls = break_it(monkeypatch, name)
    for _ in range(8):
        loop.round()
    seen = len(calls)
    probe.close()
    kinds = [event["kind"] for event in receiver.of(packet.EVENT)]
    if seen:
        assert "probe_failed" in kinds
    else:
        assert len(receiver.rows) == 8


@pytest.mark.parametrize("name", FUNCTIONS)
def test_with_the_agent_dead_the_result_is_the_same_too(name: str, start: Any, bare: Any, monkeypatch: Any) -> None:
    start(socket_path="/nonexistent/agent.sock", sample_every=3)
    break_it(monkeypatch, name, 2)
    assert all(map(torch.equal, Life().go(), bare))


@pytest.mark.parametrize("error", [MemoryError, RecursionError, OSError, AttributeError, torch.OutOfMemoryError])
def test_whatever_is_raised(error: type[Exception], start: Any, receiver: Any, bare: Any, monkeypatch: Any) -> None:
    start()

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise error("no room")

    for holder, name in (("norm.GradientNorm", "take"), ("capture.Capture", "backward"), ("rows.Rows", "finish")):
        module, _, attribute = holder.partition(".")
        found = getattr(importlib.import_module(f"{package.__name__}.{module}"), attribute, None)
        if found is not None and hasattr(found, name):
            monkeypatch.setattr(found, name, broken)
    assert all(map(torch.equal, Life().go(), bare))


def test_a_full_socket_changes_no_result(start: Any, receiver: Any, bare: Any) -> None:
    """Nobody reads: the receiver takes nothing until the job is done."""
    start()
    life = Life()
    filler = Loop()
    for _ in range(700):
        filler.round()
    assert all(map(torch.equal, life.go(), bare))
    receiver.take()
    filler.round()
    steps = [row.seq for row in receiver.take().raw]
    assert steps == list(range(1, len(steps) + 1))


@pytest.mark.parametrize("what", ["garbage", "half", "huge", "wrong_version", "nothing", "many"])
def test_an_agent_that_talks_nonsense_changes_no_result(what: str, start: Any, receiver: Any, bare: Any) -> None:
    messages = {
        "garbage": [b"\xff" * 300],
        "half": [packet.pack_json(packet.COMMAND, {"adjustment_id": "a"})[:-3]],
        "huge": [packet.pack_json(packet.COMMAND, {"overlay": {"factor": 1e999}, "adjustment_id": "x" * 30_000})],
        "wrong_version": [bytes([packet.COMMAND, 99]) + b"{}"],
        "nothing": [packet.pack_json(packet.COMMAND, {}), packet.pack_json(packet.WELCOME, {"job": None})],
        "many": [packet.pack_json(packet.WELCOME, {"job": "j", "attempt_id": "a"})] * 200,
    }
    start()
    life = Life()
    filler = Loop()
    filler.round()
    receiver.take()
    for message in messages[what]:
        for connection in receiver._connections:
            connection.send(message)
    assert all(map(torch.equal, life.go(), bare))


ASKED = [name for name in FUNCTIONS if name.startswith("provenance.") or name.endswith(("ask", "inquiry", "inquired"))]


@pytest.mark.parametrize("name", [*ASKED, "probe.Probe._answer", "gradients._norm_words", "capture.Capture.count"])
def test_a_bug_while_somebody_asks_changes_no_result(
    name: str, start: Any, receiver: Any, bare: Any, monkeypatch: Any
) -> None:
    start(sample_every=3)
    life, filler = Life(), Loop()
    filler.round()
    receiver.take()
    break_it(monkeypatch, name)
    for connection in receiver._connections:
        connection.send(packet.pack_json(packet.ASK, {"id": "q"}))
    assert all(map(torch.equal, life.go(), bare))


def test_an_agent_that_hangs_up_at_any_moment_changes_no_result(start: Any, receiver: Any, bare: Any) -> None:
    start()
    life = Life()
    Loop().round()
    receiver.take()
    for connection in receiver._connections:
        connection.close()
    receiver._connections.clear()
    assert all(map(torch.equal, life.go(), bare))


def test_warnings_as_errors_do_not_reach_the_job(start: Any, receiver: Any, bare: Any) -> None:
    start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(map(torch.equal, Life().go(), bare))
