"""Orders of the daemon on their way to a probe, and the answers to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from steersman.agent.attempt import Attempt
from steersman.agent.limits import Order
from steersman.agent.local import Client
from steersman.v1 import telemetry_pb2


def from_command(command: telemetry_pb2.AdjustmentCommand) -> Order:
    """The daemon's message as the limits see it."""
    kind = command.overlay.WhichOneof("kind")
    return Order(
        adjustment_id=command.adjustment_id,
        attempt_id=command.attempt_id,
        counter=command.counter,
        expires_at=command.expires_at,
        factor=command.overlay.factor if kind == "factor" else None,
        value=command.overlay.value if kind == "value" else None,
        over_steps=command.over_steps,
        undo=command.undo,
        by_operator=command.by_operator,
    )


def for_probe(order: Order) -> dict[str, Any]:
    """The body of a COMMAND packet."""
    overlay = {"factor": order.factor} if order.factor is not None else {"value": order.value}
    return {
        "adjustment_id": order.adjustment_id,
        "overlay": overlay,
        "over_steps": order.over_steps,
        "expires_at": order.expires_at,
        "counter": order.counter,
    }


def hindrance(attempt: Attempt, probes: Sequence[Client]) -> str:
    """Why the order could not be carried out although the owner allows it; empty where nothing stands in the way."""
    if attempt.end is not None:
        return "the job has ended"
    if attempt.hello.world_size > 1:
        return (
            f"the job has {attempt.hello.world_size} ranks, and this version cannot yet change all of them at one "
            "agreed step; a single rank that steps with another learning rate would fork the replicas"
        )
    if not probes:
        return "no probe of this job is connected to its agent"
    return ""


def refusal(order: Order, message: str, now: float) -> telemetry_pb2.AdjustmentAck:
    """The answer to an order that is not carried out."""
    return telemetry_pb2.AdjustmentAck(
        adjustment_id=order.adjustment_id,
        attempt_id=order.attempt_id,
        state=telemetry_pb2.AdjustmentAck.STATE_REFUSED,
        step=-1,
        message=message,
        time=now,
    )
