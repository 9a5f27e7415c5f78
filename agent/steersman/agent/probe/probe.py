"""The probe: what it offers to `watch` and to the bootstrap that `steersman run` injects."""

from __future__ import annotations

import atexit
import os
import sys
import time
import weakref
from typing import Any, Callable, Dict, Optional

import torch

from . import packet
from .budget import Budget
from .capture import Capture
from .channel import Channel
from .config import ProbeConfig
from .guard import Guard, pass_on
from .hindrance import hindrance
from .hooks import Hooks
from .install import forget
from .introduction import introduction
from .orders import Order, Orders
from .outside import Outside
from .overlay import Overlay
from .patches import Patches
from .plain import PlainSteps
from .provenance import Answer
from .ring import HostRing, peek
from .rows import Row, Rows
from .stacks import threads

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
        self._told = 0  # optimizers that HELLO spoke of
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
        self._hooks = Hooks(self._steps, self._overlay, self._ring, self._guard, self._say)
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
            self._steps.join(threads())
        self._patches.place(self.config.losses)
        self._hooks.place()
        atexit.register(self._at_exit)
        mine = weakref.ref(self)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: _forked(mine))

    def see(self, optimizer: Any, model: Optional[Any] = None) -> None:
        """Tell the probe of an optimizer before its first step, and connect to the agent (as `watch` does).

        Nothing is kept of `model` yet; it is part of the surface for snapshots to come.
        """
        if self._hooks.closed or self._guard.off:
            return
        try:
            seen = self._hooks.meet(optimizer)
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
        if self._hooks.closed or self._guard.off:
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
        if self._hooks.closed:
            if self._hooks.stayed and not self._steps.inside:
                self._hooks.remove()
            return
        self._hooks.closed = True
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
        end, each = "at the end", self._guard.each
        each(end, self._patches.remove, lambda: atexit.unregister(self._at_exit), lambda: forget(self))
        try:
            if self._steps.inside:
                # The overlay comes off with the step's own post-hook.
                self._hooks.stayed = True
                return
        except Exception:  # noqa: BLE001 - the border: nothing of ours may reach the user's loop
            self._guard.failed(end)
        each(end, self._overlay.take_off, self._hooks.remove)

    def _at_exit(self) -> None:
        # Python leaves here what ended the program, where an exception did.
        error = getattr(sys, "last_type", None)
        if error is None:
            self.close("finished")
        else:
            self.close("failed", f"{error.__name__} ended the program")

    # talking with the agent

    def _hello(self) -> Dict[str, Any]:
        return introduction(self.config, self._attempt, self._started_at, self._steps.stepping, self._guard)

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
        if not self._hooks.closed:
            self.close("detached", "detached by its owner", patience=0.0)
            Outside(self._gone).begin()

    def _gone(self) -> None:
        try:
            self._steps.claims.clear()
            self._overlay.take_off()
            self._hooks.remove()
        except Exception:  # noqa: BLE001 - the border: the job's own step is our caller
            self._guard.failed("when it left")

    def _hindrance(self, order: Order) -> Optional[str]:
        return hindrance(order, self._steps)

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


def _forked(mine: Callable[[], Optional[Probe]]) -> None:
    probe = mine()
    if probe is not None:
        try:
            probe.forked()
        except Exception:  # noqa: BLE001 - the border: an error here would be printed in the user's worker
            probe._guard.off = True


def _number(value: Any) -> Optional[float]:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
