"""A training job with its probe and agent, played by a script: what it does depends on the step alone."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc.aio
from tests.monitor.agent_in_test import AgentInTest, batch, until

from steersman.monitor.daemon import Daemon
from steersman.v1 import telemetry_pb2 as pb
from steersman.v1 import types_pb2 as types

OWN_LR = 0.1


@dataclass
class SteeredJob:
    """Steps, lays commands on at the step it has come to, and remembers its acknowledgements like a real agent's spool.

    Attributes:
        steps: how many there are.
        loss: loss at a step under a factor.
        wait_at: sequence numbers after which a command must come before the job goes on.
    """

    attempt: str
    steps: int
    loss: Callable[[int, float], float]
    wait_at: tuple[int, ...]
    policy: int = types.POLICY_AUTO
    planned_steps: int = 0
    done: int = 0
    factors: list[tuple[int, float]] = field(default_factory=lambda: [(0, 1.0)])
    acks: dict[str, list[pb.AdjustmentAck]] = field(default_factory=dict)

    def factor(self, step: int) -> float:
        return next(f for s, f in reversed(self.factors) if s <= step)

    def rows(self, first: int, last: int) -> pb.Batch:
        steps = range(first - 1, last)
        return batch(
            self.attempt,
            first,
            {
                "loss": [self.loss(s, self.factor(s)) for s in steps],
                "lr/0": [OWN_LR * self.factor(s) for s in steps],
                "own_lr/0": [OWN_LR for _ in steps],
            },
        )

    async def live(self, daemons: Callable[[], Awaitable[Daemon]], kills: random.Random | None = None) -> None:
        """Run to the end; `kills` throws the daemon over now and then and asks for the next one."""
        daemon = await daemons()
        agent = AgentInTest(str(daemon.listen))
        durable = await self._greet(agent)
        while True:
            sent = await self._talk(agent, durable, kills)
            if sent:
                break
            await daemon.stop()
            await agent.close()
            daemon = await daemons()
            agent = AgentInTest(str(daemon.listen))
            durable = await self._greet(agent)
        end = pb.JobEnd(attempt_id=self.attempt, outcome=pb.JobEnd.OUTCOME_FINISHED, time=9_000.0)
        await agent.all_durable(self.attempt, self.steps)
        await agent.send(pb.StreamRequest(job_end=end))
        await until(lambda: any(v.ended for v in daemon.board.all()), "the end of the job")
        await agent.close()

    async def _greet(self, agent: AgentInTest) -> int:
        welcome = await agent.open(self.attempt, policy=self.policy, planned_steps=self.planned_steps)
        # Acknowledgements go out again before any row: they tell of steps that those rows are taken at.
        for acks in self.acks.values():
            for ack in acks:
                await agent.send(pb.StreamRequest(adjustment_ack=ack))
        return next((d.durable_seq for d in welcome.durable), 0)

    async def _talk(self, agent: AgentInTest, durable: int, kills: random.Random | None) -> bool:
        at = durable
        while at < self.steps:
            limit = next((w for w in self.wait_at if w > at), self.steps)
            size = kills.randint(1, 13) if kills else 16
            last = min(at + size, limit, self.steps)
            with contextlib.suppress(grpc.aio.AioRpcError):
                await agent.batches(self.rows(at + 1, last))
            at, self.done = last, max(self.done, last)
            if kills and kills.random() < 0.08:
                return False
            if last in self.wait_at:
                await self._obey(agent, last)
                if kills and kills.random() < 0.5:
                    return False
        return True

    async def _obey(self, agent: AgentInTest, at: int) -> None:
        """Wait for a command that is new, and lay it on at the next step."""
        if any(a.step == at for acks in self.acks.values() for a in acks):
            return
        command = await until(
            lambda: next((c for c in agent.commands if c.adjustment_id not in self.acks), None), f"a command at {at}"
        )
        factor = command.overlay.factor
        self.factors.append((at, factor))
        self.acks[command.adjustment_id] = [
            pb.AdjustmentAck(
                adjustment_id=command.adjustment_id,
                attempt_id=self.attempt,
                state=state,
                step=step,
                lr=[OWN_LR * factor],
                own_lr=[OWN_LR],
                time=5_000.0 + at,
            )
            for state, step in (
                (pb.AdjustmentAck.STATE_ARMED, -1),
                (pb.AdjustmentAck.STATE_APPLIED, at),
                (pb.AdjustmentAck.STATE_SETTLED, at + command.over_steps),
            )
        ]
        for ack in self.acks[command.adjustment_id]:
            await agent.send(pb.StreamRequest(adjustment_ack=ack))
