"""The probe: what it offers to `watch` and to the bootstrap that `steersman run` injects."""

from __future__ import annotations

import atexit
import os
import platform
import sys
import time
import weakref
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from . import packet
from .budget import Budget
from .capture import Capture
from .channel import Channel
from .config import ProbeConfig
from .effect import replicas
from .guard import Guard, pass_on
from .install import forget
from .orders import Order, Orders
from .outside import Outside
from .overlay import Overlay
from .patches import Patches
from .plain import PlainSteps
from .provenance import Answer
from .ring import HostRing, peek
from .rows import Row, Rows
from .seen import Seen

_LAST_MOMENT = 1.0  # seconds that the end of the job may be held up for what is still on its way


class Probe:
    """One guest in one training process. Made by `install`; nothing here raises into the user's loop.

    Args:
        config: who this process is and where its agent listens.
    """

    def __init__(self, config: ProbeConfig) -> None:
        self.config = config
        self.granted: Optional[str] = None
        self._attempt = config.attempt_id
        self._started_at = 0.0
        self._pid = -1
        self._closed = False
        self._remove_later = False
        self._told = 0  # optimizers that HELLO spoke of
        self._seen: Dict[int, Seen] = {}
        self._handles: List[Any] = []
        self._ring = HostRing()
        self._guard = Guard(self._say_once, self._switch_off)
        self._capture = Capture(self._ring)
        self._overlay = Overlay()
        self._channel = Channel(config.socket_path, self._hello)
        self._rows = Rows(self._channel, self._report, self._say)
        self._orders = Orders(self._overlay, self._channel.send_note, self._hindrance)
        self._steps = PlainSteps(
            self._capture,
            self._rows,
            self._ring,
            self._overlay,
            self._orders,
            Budget(config.budget_fraction, config.budget_floor),
            config.sample_every,
            self._listen,
            self._say,
            self._guard,
        )
        self._patches = Patches(self._capture, self._guard, self._steps)

    @property
    def job(self) -> str:
        """The job's name: the one granted once the agent said so, else the one asked for."""
        return self.granted or self.config.job

    @property
    def connected(self) -> bool:
        """Whether an agent is at the other end, as far as is known."""
        return self._channel.connected

    @property
    def inside_step(self) -> bool:
        """Whether an optimizer step is being made at this moment, in any thread."""
        return self._steps.inside

    @property
    def failures(self) -> int:
        """How often the probe caught an error of its own."""
        return self._guard.failures

    def start(self) -> None:
        """Install hooks and patches; called once by `install`."""
        self._started_at = time.time()
        self._pid = os.getpid()
        if self.config.way_in == "attach":
            self._steps.join(sys._current_frames())
        self._patches.place(self.config.losses)
        self._handles = [register_optimizer_step_pre_hook(_finder(self))]
        atexit.register(self._at_exit)
        mine = weakref.ref(self)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: _forked(mine))

    def see(self, optimizer: Any, model: Optional[Any] = None) -> None:
        """Tell the probe of an optimizer before its first step, and connect to the agent (as `watch` does).

        Nothing is kept of `model` yet; it is part of the surface for snapshots to come.
        """
        if self._closed or self._guard.off:
            return
        try:
            seen = self._meet(optimizer)
            if seen.number < 0:
                self._steps.meet(seen, optimizer)
            self._tend()
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("in watch")

    def log(self, val_loss: Any = None, set: str = "", **by_name: Any) -> None:
        """Record a validation loss: `log(val_loss=x)`, `log(val_loss=x, set="test")` or `log(**{"val_loss/test": x})`.

        A number or a scalar tensor, which is not waited for. It goes out with the next optimizer step. Once a script
        logs its own, those the probe found by itself are no longer sent. A name that is not `val_loss` or
        `val_loss/SET` is not taken, and an event says so.
        """
        if self._closed or self._guard.off:
            return
        try:
            if val_loss is not None:
                by_name["val_loss/" + set if set else "val_loss"] = val_loss
            for name, value in by_name.items():
                if name != "val_loss" and not name.startswith("val_loss/"):
                    self._say("log_refused", f"log takes val_loss or val_loss/SET, not {name!r}", 1)
                elif peek(value) is None and not (isinstance(value, torch.Tensor) and value.numel() == 1):
                    number = _number(value)
                    if number is None:
                        self._say("log_refused", f"{name} is no number: {type(value).__name__}", 1)
                    else:
                        self._capture.log(name, number)
                else:
                    self._capture.log(name, value)
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("in log")

    def close(self, outcome: str = "finished", message: str = "", patience: float = _LAST_MOMENT) -> None:
        """Send what is pending, say goodbye, take hooks, patches and overlay off. Safe to call twice.

        While a thread is inside an optimizer step the hooks stay where they are, asleep: torch would raise in that
        step if they went away under it. Calling it again later takes them off.

        Args:
            outcome: `finished` or `failed` where the job ends, `detached` where it goes on without the probe.
            message: one sentence for people.
            patience: seconds for what is still on its way, each of its three times.
        """
        if self._closed:
            if self._remove_later and not self._steps.inside:
                self._remove_hooks()
            return
        self._closed = True
        try:
            if os.getpid() == self._pid and (self._steps.step >= 0 or self._channel.connected or self._guard.failures):
                self._steps.finish()
                self._rows.flush(patience)
                self._channel.tend()
                goodbye = {"outcome": outcome, "message": message, "time": time.time()}
                self._channel.drain(patience)
                self._channel.send_note(packet.pack_json(packet.BYE, goodbye))
                self._channel.drain(patience)
            self._channel.close()
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("at the end")
        self._uninstall()

    def _uninstall(self) -> None:
        self._each(self._patches.remove, lambda: atexit.unregister(self._at_exit), lambda: forget(self))
        try:
            if self._steps.inside:
                # The overlay comes off with the step's own post-hook.
                self._remove_later = True
                return
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("at the end")
        self._each(self._overlay.take_off, self._remove_hooks)

    def _each(self, *parts: Callable[[], Any]) -> None:
        """Do all of these, whatever fails."""
        for part in parts:
            try:
                part()
            except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
                self._guard.failed("at the end")

    def _remove_hooks(self) -> None:
        handles, self._handles = self._handles, []
        seen, self._seen = list(self._seen.values()), {}
        self._remove_later = False
        self._each(*(handle.remove for handle in handles), *(one.unhook for one in seen))

    # hooks, each with the border in it

    def _find(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """The global pre-hook: it only finds optimizers, and sees to the order of our hooks on them."""
        if self._closed or self._guard.off:
            return
        try:
            seen = self._seen.get(id(optimizer))
            if seen is None or seen.ref() is not optimizer:
                seen = self._meet(optimizer)
            if not self._steps.claims or not self._steps.inside:
                seen.outermost(optimizer)
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("when it met an optimizer")

    def _meet(self, optimizer: Any) -> Seen:
        seen = self._seen.get(id(optimizer))
        if seen is not None and seen.ref() is optimizer:
            return seen
        key = id(optimizer)
        known, mine = self._seen, weakref.ref(self)

        def forget() -> None:
            # Another may live at the same address by now.
            there = known.get(key)
            if there is not None and there.ref() is None:
                del known[key]

        seen = Seen(optimizer, self._ring, forget)
        known[key] = seen
        before, after = _hooks(self, seen)

        def loaded(optimizer: Any) -> None:
            probe = mine()
            if probe is not None:
                probe._loaded(seen, optimizer)

        seen.hook(before, after, self._before_state, self._after_state, loaded)
        return seen

    def _loaded(self, seen: Seen, optimizer: Any) -> None:
        """A state was loaded into an optimizer: the run may have gone back."""
        if self._closed or self._guard.off:
            return
        try:
            seen.direction.forget()
            if self._steps.step >= 0:
                count = next((peek(s["step"]) for s in optimizer.state.values() if "step" in s), None)
                at = "" if count is None else f", which has made {count:g} steps by its own count"
                self._say("state_loaded", f"a saved state was loaded into optimizer {seen.number}{at}", 1)
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("when a state was loaded")

    def _rescue(self) -> None:
        """Whatever failed, the job gets its own learning rate back."""
        try:
            self._steps.heal(self._steps.claims.get("step"))
            self._overlay.take_off()
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("when it took the overlay off")

    def _before_state(self, optimizer: Any) -> None:
        try:
            self._steps.before_state()
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("before a checkpoint")

    def _after_state(self, optimizer: Any, state: Any) -> None:
        try:
            self._steps.after_state()
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("after a checkpoint")

    def _at_exit(self) -> None:
        # Python leaves here what ended the program, where an exception did.
        error = getattr(sys, "last_type", None)
        if error is None:
            self.close("finished")
        else:
            self.close("failed", f"{error.__name__} ended the program")

    # talking with the agent

    def _hello(self) -> Dict[str, Any]:
        config = self.config
        seen = [one for one in self._steps.stepping if one.ref() is not None]
        rank, world = _replica()
        rank = config.rank if config.rank is not None else rank
        world = config.world_size if config.world_size is not None else world
        return {
            "attempt_id": self._attempt,
            "rank": rank,
            "world_size": world,
            "pid": os.getpid(),
            "job": config.job,
            "policy": config.policy,
            "limits": config.limits,
            "command": config.command[:512],
            "way_in": config.way_in,
            "started_at": self._started_at,
            "planned_steps": config.planned_steps,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
            **self._described(seen),
        }

    def _described(self, seen: List[Seen]) -> Dict[str, Any]:
        """What HELLO can do without: a mistake in it must not keep the probe from saying anything at all."""
        try:
            return {
                "device": seen[0].device() if seen else "cpu",
                "optimizers": [one.describe() for one in seen],
            }
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed("when it described the optimizers")
            return {}

    def _tend(self) -> None:
        met = self._steps.met
        if met != self._told:
            self._told = met
            self._channel.greet_again()
            self._channel.flush()
        self._channel.tend()

    def _listen(self) -> None:
        self._tend()
        for message in self._channel.receive():
            try:
                kind = packet.kind_of(message)
                body = packet.unpack_json(message)
                if kind == packet.COMMAND:
                    self._orders.take(body, self._steps.step + 1)
                elif kind == packet.WELCOME:
                    self.granted = str(body.get("job") or self.config.job)
                    self._attempt = str(body.get("attempt_id") or self._attempt)
                    self._channel.offered(bool(body.get("shared")))
                elif kind == packet.REFUSED:
                    self._switch_off()
                    self._guard.off = True
                elif kind == packet.ASK:
                    self._steps.ask(str(body["id"]))
                elif kind == packet.DETACH:
                    self._leave()
            except (packet.PacketError, KeyError, TypeError, ValueError, AttributeError) as error:
                pass_on(error)
                self._say("command_malformed", f"the agent sent something that cannot be read: {error}", 1)

    def _leave(self) -> None:
        """Go, and leave the job as it was found. We are inside a step: at its end, before the post-hooks."""
        if not self._closed:
            self.close("detached", "detached by its owner", patience=0.0)
            Outside(self._gone).begin()

    def _gone(self) -> None:
        try:
            self._steps.claims.clear()
            self._overlay.take_off()
            self._remove_hooks()
        except Exception:  # noqa: BLE001 - the border: the job's own step is our caller
            self._guard.failed("when it left")

    def _hindrance(self, order: Order) -> Optional[str]:
        """Why the learning rate is left alone, in words, or None."""
        ranks = replicas()
        if ranks is not None:
            return ranks
        if self._steps.in_backward:
            return "the optimizers step inside backward, where no two steps of a round share one moment"
        for seen in self._steps.stepping:
            optimizer = seen.ref()
            if optimizer is None:
                continue
            if not seen.judgement.allowed:
                return seen.judgement.words
            if seen.captured:
                return (
                    "the optimizer's step was captured in a graph, which replays the learning rate it was captured with"
                )
            if order.value is not None and peek(optimizer.param_groups[0]["lr"]) is None:
                return "the learning rate is a tensor on a device: a value cannot be laid on it, a factor can"
        return None

    def _report(self, row: Row) -> None:
        lr, own = [], []
        for column, own_column in row.lr_columns:
            if row.present >> column & 1:
                lr.append(row.numbers[column])
                own.append(row.numbers[own_column] if row.present >> own_column & 1 else row.numbers[column])
        if row.due:
            self._orders.report(row.due, row.step, lr, own)
        if row.answer is not None:
            self._answer(row, row.answer)

    def _answer(self, row: Row, answer: Answer) -> None:
        """Say where a row's numbers came from to those who asked."""
        sources = []
        for series, column, words in answer.sources:
            there = column >= 0 and row.present >> column & 1
            sources.append([series, row.numbers[column] if there else None, words])
        said = {"ids": list(answer.identities), "step": row.step, "sources": sources}
        self._channel.send_note(packet.pack_json(packet.ANSWER, said))

    def _say(self, kind: str, message: str, count: int) -> None:
        event = {"time": time.time(), "step": self._steps.step, "kind": kind, "message": message, "count": count}
        self._channel.send_note(packet.pack_json(packet.EVENT, event))

    def _say_once(self, kind: str, message: str) -> None:
        self._say(kind, message, 1)

    def _switch_off(self) -> None:
        self._patches.asleep = True
        self._overlay.take_off()

    def forked(self) -> None:
        """In the child of a fork: it is another process, that has sent nothing and shares nothing with its parent."""
        self._channel.forked()
        self._capture.forget()
        self._rows.forget()
        self._steps.forget()
        self._pid = os.getpid()


def _finder(probe: Probe) -> Any:
    def find(optimizer: Any, args: Any, kwargs: Any) -> None:
        probe._find(optimizer, args, kwargs)

    vars(find)["_torchdynamo_disable"] = True
    return find


def _hooks(probe: Probe, seen: Seen) -> Any:
    """The two hooks of one instance. Torch's wrapper is their caller, and its frame names the step.

    They hold what they need: every object between them and the work is looked for in memory at every step, where the
    job's own tensors have just been.
    """
    frame_of: Callable[[int], Any] = sys._getframe
    steps, guard, compiling = probe._steps, probe._guard, torch.compiler.is_compiling

    def before(optimizer: Any, args: Any, kwargs: Any) -> Any:
        if probe._closed or guard.off or compiling():
            return None
        try:
            return steps.before(seen, optimizer, args, kwargs, frame_of(1))
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            guard.failed("before a step")
            return None

    def after(optimizer: Any, args: Any, kwargs: Any) -> None:
        if compiling():
            return
        try:
            if probe._closed or guard.off:
                probe._overlay.take_off()
            else:
                steps.after(seen, optimizer, frame_of(1))
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            try:
                guard.failed("after a step")
            finally:
                probe._rescue()

    # What torch.compiler.disable sets, without importing dynamo for it: called as they are where a step is compiled.
    # Torch breaks the graph there anyway, in the optimizers' own `_use_grad_for_differentiable`.
    for hook in (before, after):
        vars(hook)["_torchdynamo_disable"] = True
    return before, after


def _forked(mine: Callable[[], Optional[Probe]]) -> None:
    probe = mine()
    if probe is not None:
        try:
            probe.forked()
        except Exception:  # noqa: BLE001 - the border: an error here would be printed in the user's worker
            probe._guard.off = True


def _replica() -> Tuple[int, int]:
    """Rank and world size as the process group knows them, else as a launcher has put them into the environment."""
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank()), int(distributed.get_world_size())
    return _from_environment("RANK", 0), _from_environment("WORLD_SIZE", 1)


def _from_environment(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else default


def _number(value: Any) -> Optional[float]:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
