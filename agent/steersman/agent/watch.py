"""`watch`: one line in a training script."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

from steersman.agent import processes
from steersman.agent.jobname import check_job_name
from steersman.agent.limits import Limits, check_policy

DEFAULT_DAEMON = "127.0.0.1:7461"
_NAMESPACE = uuid.UUID("7b1f7c5e-3f0b-5d0c-9a52-4f3f4b7a6d11")

# One process may watch several trainings, one after the other. Its ranks make the same ones in the same order, which is
# all that tells a second one from the first without asking the other ranks: it has to be counted for the process.
_trainings = itertools.count()

_log = logging.getLogger("steersman.watch")


class Watch:
    """A watched training job. Nothing here raises into the training loop.

    Args:
        probe: the probe of this process; None where Steersman is switched off.
        ours: whether closing the watch closes the probe; not so where `steersman run` put it there.
    """

    def __init__(self, probe: Any, ours: bool) -> None:
        self._probe = probe
        self._ours = ours
        self._closed = False

    @property
    def active(self) -> bool:
        """Whether steps are being watched."""
        return self._probe is not None and not self._closed

    @property
    def job(self) -> str:
        """The job's name: the one granted once the daemon gave it, else the one asked for; empty when switched off."""
        return str(self._probe.job) if self._probe is not None else ""

    def log(self, val_loss: Any = None, set: str = "", **by_name: Any) -> None:
        """Record a validation loss: `log(val_loss=x)`, or `log(val_loss=x, set="test")` for one of several sets.

        A number or a scalar tensor, which is not waited for. It goes out with the next optimizer step.
        """
        if self.active:
            self._probe.log(val_loss=val_loss, set=set, **by_name)

    def close(self, outcome: str = "finished", message: str = "") -> None:
        """The job is over; at the end of the process this happens by itself. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._probe is not None and self._ours:
            atexit.unregister(self._at_exit)
            self._probe.close(outcome=outcome, message=message)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.close("failed", f"{kind.__name__} in the training loop")

    def _at_exit(self) -> None:
        # Python leaves here what ended the program, where an exception did.
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        if error is None:
            self.close()
        else:
            self.close("failed", f"{type(error).__name__} ended the program")


def check_asked(
    job: str | None, policy: str, limits: Limits | Mapping[str, Any] | None, daemon: str | None, budget: float
) -> tuple[Limits, str]:
    """The limits, and the daemon's address, that a caller of `watch` asks for.

    Raises:
        ValueError: a policy or a limit that does not exist, or a value that makes no sense.
    """
    check_job_name(str(job or ""))
    check_policy(policy)
    checked = Limits.of(limits)
    if isinstance(budget, bool) or not budget > 0:
        raise ValueError(f"budget must be a positive number of seconds, not {budget!r}")
    address = daemon or os.environ.get("STEERSMAN_DAEMON") or DEFAULT_DAEMON
    if not address.rpartition(":")[2].isdigit():
        raise ValueError(f"{address!r} is no address of a daemon; write HOST:PORT, as in {DEFAULT_DAEMON}")
    return checked, address


def watch(
    optimizer: Any,
    model: Any = None,
    *,
    job: str | None = None,
    policy: str = "observe",
    limits: Limits | Mapping[str, Any] | None = None,
    daemon: str | None = None,
    planned_steps: int | None = None,
    budget: float = 100e-6,
) -> Watch:
    """Watch the training job that steps this optimizer.

    Starts the agent of this host where none runs. With no daemon the job trains unharmed, and its rows wait on disk.
    Under `steersman run` the probe is there already: it is used as it is, and what `run` was told counts; it learns
    `planned_steps` from here.
    With STEERSMAN=off in the environment nothing happens.

    Args:
        optimizer: the job's optimizer.
        model: the module it trains, for what can only be told from the module.
        job: a name for people, which does not begin with "-"; derived from the script's name where it is left out.
        policy: what the daemon may do alone: `observe`, `advise`, `approve` or `auto`.
        limits: bounds on every change, a `Limits` or a mapping with its names.
        daemon: HOST:PORT of the daemon; STEERSMAN_DAEMON or 127.0.0.1:7461 where it is left out.
        planned_steps: optimizer steps that the job means to make.
        budget: seconds that the probe may always cost a step; beyond it and 1 % of the step it measures less often.

    Returns:
        A `Watch`, to log validation losses with and to close; it is also a context manager.

    Raises:
        ValueError: a policy or a limit that does not exist, or a value that makes no sense.
    """
    checked, address = check_asked(job, policy, limits, daemon, budget)
    if planned_steps is not None and (isinstance(planned_steps, bool) or planned_steps < 0):
        raise ValueError(f"planned_steps must be a whole number from 0 on, not {planned_steps!r}")
    if os.environ.get("STEERSMAN") == "off":
        return Watch(None, ours=False)
    if not hasattr(optimizer, "param_groups"):
        raise ValueError(f"watch needs a torch optimizer, not {type(optimizer).__name__}")
    try:
        return _watch(optimizer, model, job, policy, checked, address, planned_steps or 0, budget)
    except Exception:  # noqa: BLE001 - the border of a guest: whatever is wrong with us, the job trains
        _log.warning("steersman could not begin to watch; the job goes on without it", exc_info=True)
        return Watch(None, ours=False)


def _watch(
    optimizer: Any,
    model: Any,
    job: str | None,
    policy: str,
    limits: Limits,
    daemon: str,
    planned_steps: int,
    budget: float,
) -> Watch:
    from steersman.agent.probe import ProbeConfig, current, install

    there = current()
    if there is not None:
        if planned_steps and not there.config.planned_steps:
            # Before it is shown the optimizer: that makes it say hello again.
            there.config = replace(there.config, planned_steps=planned_steps)
        there.see(optimizer, model)
        return Watch(there, ours=False)
    given_attempt, given_socket = os.environ.get("STEERSMAN_ATTEMPT"), os.environ.get("STEERSMAN_SOCKET")
    under_run = given_attempt and given_socket
    with contextlib.nullcontext(str(given_socket)) if under_run else _agent(daemon) as path:
        config = ProbeConfig(
            attempt_id=given_attempt or _attempt_id(),
            job=job or os.environ.get("STEERSMAN_JOB") or _name(),
            socket_path=path,
            policy=policy,
            limits=limits.as_fields(),
            command=" ".join(sys.orig_argv)[:512],
            way_in="watch",
            planned_steps=planned_steps,
            budget_floor=budget,
        )
        probe = install(config)
        watching = Watch(probe, ours=True)
        atexit.register(watching._at_exit)
        probe.see(optimizer, model)  # connects
    return watching


@contextlib.contextmanager
def _agent(daemon: str) -> Iterator[str]:
    """The socket of the agent, which does not leave meanwhile; or where the probe may yet meet one."""
    from steersman.agent.errors import AgentError
    from steersman.agent.paths import places
    from steersman.agent.start import ensure_agent

    where = places()
    with contextlib.ExitStack() as stack:
        try:
            stack.callback(ensure_agent(daemon, where).close)
        except AgentError as error:
            _log.warning("%s; the job trains without it", error)
        yield where.socket(daemon)


def _attempt_id() -> str:
    """A new attempt, the same in all ranks that one launcher started, and another for each training in one process."""
    environ, training = os.environ, next(_trainings)
    if int(environ.get("WORLD_SIZE") or 1) <= 1:
        return str(uuid.uuid4())
    same = [environ.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")]
    same.append(environ.get("TORCHELASTIC_RESTART_COUNT", ""))
    if environ.get("LOCAL_WORLD_SIZE") == environ.get("WORLD_SIZE"):
        # All ranks have one parent, which tells two runs apart even where they meet at the same port.
        same.append(processes.mark(os.getppid()))
    if training:
        same.append(str(training))
    return str(uuid.uuid5(_NAMESPACE, "/".join(same)))


def _name() -> str:
    script = os.path.basename(sys.argv[0] or "")
    return os.path.splitext(script)[0] or "python"
