"""The one place where what goes wrong in the daemon becomes a gRPC status."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import structlog

from steersman.monitor.errors import (
    DrainingError,
    LimitError,
    MalformedError,
    MonitorError,
    NotFoundError,
    RefusedError,
    StoreError,
)

CODES: tuple[tuple[type[MonitorError], grpc.StatusCode], ...] = (
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (RefusedError, grpc.StatusCode.FAILED_PRECONDITION),
    (MalformedError, grpc.StatusCode.INVALID_ARGUMENT),
    (LimitError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DrainingError, grpc.StatusCode.UNAVAILABLE),
    (StoreError, grpc.StatusCode.UNAVAILABLE),
)

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])


def code_of(error: MonitorError) -> grpc.StatusCode:
    """The status for an error."""
    return next((code for kind, code in CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def answers(handler: Handler) -> Handler:
    """Wrap a unary handler `(self, request, context)` so that errors become statuses with their own words."""

    @functools.wraps(handler)
    async def wrapped(self: Any, request: Any, context: Any) -> Any:
        try:
            return await handler(self, request, context)
        except MonitorError as error:
            await context.abort(code_of(error), str(error))
        except (grpc.aio.AbortError, grpc.RpcError):
            raise
        except Exception as error:  # noqa: BLE001  the border: what breaks here is a bug, and is said as one
            structlog.get_logger("steersman.operators").exception("request_failed", request=handler.__name__)
            await context.abort(grpc.StatusCode.INTERNAL, f"the daemon failed: {type(error).__name__}; see its log")

    return wrapped  # type: ignore[return-value]  # functools.wraps keeps the signature, which mypy can't see here
