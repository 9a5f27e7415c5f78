"""All jobs in memory: their names, their attempts, and bringing them back from the store."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from steersman.monitor.control import Policy
from steersman.monitor.engine import EngineMaker
from steersman.monitor.errors import LimitError, NotFoundError
from steersman.monitor.facts import Facts
from steersman.monitor.job import Job
from steersman.monitor.ledger import Ledger
from steersman.monitor.store.contract import Store
from steersman.monitor.wholenorm import OWN, PARTS
from steersman.rules.samples import Samples


class Jobs:
    """Lives in the writer's thread; whoever else wants something of it asks through the cycle.

    Args:
        store: where attempts are read that are not in memory.
        maker: makes their engines.
        policy: holds where an owner asked for none.
        most: how many attempts that have not ended it takes.
    """

    def __init__(self, store: Store, maker: EngineMaker, policy: Policy, most: int) -> None:
        self.store = store
        self.maker = maker
        self.policy = policy
        self.most = most
        self._jobs: dict[str, Job] = {}
        self._ledgers: dict[str, Ledger] = {}

    def restore(self, clock: float) -> int:
        """Bring back all attempts that have not ended; how many there were."""
        for record in self.store.jobs(ended=False)[: self.most]:
            job = self._bring_back(record.attempt_id)
            if job is not None:
                job.opened_at = clock  # its silence counts from now on
                job.pace.heard_at = clock if job.rank_steps else 0.0
        return len(self._jobs)

    def open(self, facts: Facts, clock: float) -> Job:
        """An agent opens a job: a new attempt, one that is in memory, or one out of the store.

        Raises:
            LimitError: there are too many.
        """
        job = self._jobs.get(facts.attempt_id) or self._bring_back(facts.attempt_id)
        if job is not None:
            job.hello(facts)
            job.opened_at = clock
            return job
        if sum(j.end is None for j in self._jobs.values()) >= self.most:
            raise LimitError(
                f"this daemon watches {self.most} jobs already and takes no more: {facts.asked} is not watched"
            )
        name, attempt = self._grant(facts.asked)
        job = Job.begin(name, attempt, facts, self._ledger(name), self.maker, self.policy)
        job.opened_at = clock
        self._jobs[facts.attempt_id] = job
        return job

    def get(self, attempt_id: str) -> Job:
        """An attempt, out of the store where it is no longer in memory.

        Raises:
            NotFoundError: it was never opened.
        """
        job = self._jobs.get(attempt_id) or self._bring_back(attempt_id)
        if job is None:
            raise NotFoundError(f"attempt {attempt_id} is not open: send its job_hello first")
        return job

    def live(self, name: str) -> Job:
        """The newest attempt of a name, for someone who wants to change it.

        Raises:
            NotFoundError: there is no such job, or it has ended.
        """
        found = [j for j in self._jobs.values() if j.name == name]
        if not found:
            if self.store.find(name) is not None:
                raise NotFoundError(f"job {name} has ended; `steersman show {name}` tells how")
            raise NotFoundError(f"there is no job {name}; `steersman jobs` lists them")
        return max(found, key=lambda j: j.attempt)

    def with_adjustment(self, adjustment_id: str) -> Job:
        """The job in memory that an adjustment belongs to.

        Raises:
            NotFoundError: there is none.
        """
        for job in self._jobs.values():
            if adjustment_id in job.control.adjustments:
                return job
        raise NotFoundError(f"no job in progress has an adjustment {adjustment_id}")

    def all(self) -> Iterable[Job]:
        """Every attempt in memory."""
        return self._jobs.values()

    def forget(self, attempt_id: str) -> None:
        """Let an attempt go that has ended: the store has it."""
        job = self._jobs.pop(attempt_id)
        if not any(j.name == job.name for j in self._jobs.values()):
            self._ledgers.pop(job.name, None)

    def _bring_back(self, attempt_id: str) -> Job | None:
        restored = self.store.restore(attempt_id)
        if restored is None:
            return None
        job = Job.resume(restored, self._ledger(restored.job.name), self.maker)
        job.gathering.refill(job.lead, job.facts.world_size, lambda step: self._parts(attempt_id, step))
        self._jobs[attempt_id] = job
        return job

    def _parts(self, attempt_id: str, from_step: int) -> dict[str, Mapping[int, Samples]]:
        """What the store has of the ranks' gradient norms and directions from a step on."""
        names = [s.name for s in self.store.list_series(attempt_id) if s.name == OWN or s.name.startswith(PARTS)]
        return {name: self.store.series(attempt_id, name, from_step=from_step) for name in names}

    def _ledger(self, name: str) -> Ledger:
        # One for all attempts of a name: they share the chain.
        if name not in self._ledgers:
            self._ledgers[name] = Ledger.resume(name, self.store.ledger(name))
        return self._ledgers[name]

    def _grant(self, asked: str) -> tuple[str, int]:
        for number in itertools.count(1):
            name = asked if number == 1 else f"{asked}-{number}"
            mine = [j for j in self._jobs.values() if j.name == name]
            if any(j.end is None for j in mine):
                continue
            stored = self.store.find(name)
            return name, 1 + max([j.attempt for j in mine] + ([stored.attempt] if stored else [0]))
        raise AssertionError("unreachable: count() does not end")
