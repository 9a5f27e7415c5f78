"""The operators' side of gRPC for the commands: one daemon, plain views out, errors in words."""

from __future__ import annotations

import difflib
import getpass
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from steersman.cli import translate, views
from steersman.cli.errors import CommandError, NotFoundError, RefusedError, UnreachableError, UsageError
from steersman.cli.options import DEFAULT_DAEMON
from steersman.cli.words import clean
from steersman.v1 import operator_pb2, operator_pb2_grpc, types_pb2

if TYPE_CHECKING:
    import grpc

PROTOCOL = 1
"""The version of the protocol that these commands speak."""

_LOOPBACK = re.compile(r"^(127\.|localhost:|\[::1\])")
_Reply = TypeVar("_Reply")


def channel_options(address: str) -> list[tuple[str, int]]:
    """The gRPC channel options for an operator's connection to `address`."""
    options = [
        # with gRPC's defaults a half-open connection goes unseen for minutes
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 3_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # full series are larger than gRPC's default of 4 MiB
        ("grpc.max_receive_message_length", 256 * 1024 * 1024),
    ]
    if _LOOPBACK.match(address):
        options.append(("grpc.enable_http_proxy", 0))  # a proxy has no business between us and our own host
    return options


def check_address(address: str) -> str:
    """`address` if it reads as HOST:PORT, else a `UsageError`."""
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"{clean(address)!r} is no address of a daemon", f"write HOST:PORT, as in {DEFAULT_DAEMON}")
    return address


def operator_name() -> str:
    """Who is asking, for the ledger: the login name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry in the password file, as in many containers
        return f"uid {os.getuid()}"


def check_protocol(daemon: views.Daemon, address: str) -> None:
    """Raises `UnreachableError` unless the daemon speaks `PROTOCOL`."""
    if daemon.protocol_min <= PROTOCOL <= daemon.protocol_max:
        return
    theirs = (
        str(daemon.protocol_min)
        if daemon.protocol_min == daemon.protocol_max
        else f"{daemon.protocol_min} to {daemon.protocol_max}"
    )
    older = "this command" if daemon.protocol_min > PROTOCOL else "the daemon"
    raise UnreachableError(
        f"the daemon at {address} (version {daemon.version or 'unknown'}) speaks protocol {theirs}, "
        f"this command {PROTOCOL}",
        f"upgrade {older}: pip install --upgrade steersman",
    )


def why_unreachable(detail: str) -> str:
    """What gRPC says of a connection that failed, in a few words.

    Example:
        >>> why_unreachable("failed to connect last error: UNKNOWN: ipv4:127.0.0.1:1: No route to host")
        'no route to host'
    """
    if re.search("refused", detail, re.IGNORECASE):
        return "connection refused"
    if re.search("timed? ?out|deadline", detail, re.IGNORECASE):
        return "no answer in time"
    if re.search("resolution|resolve|DNS|lookup|Name or service", detail):
        return "the host name is not known"
    if system := re.search("no route to host|network is unreachable|connection reset", detail, re.IGNORECASE):
        return system.group().lower()
    if re.search("failed to connect|connections to all backends", detail, re.IGNORECASE):
        return "no connection could be made"
    return clean(detail, 200) or "connection lost"


def unreachable(address: str, detail: str) -> UnreachableError:
    """No daemon answers: says where, why, and how to start one."""
    return UnreachableError(
        f"no daemon answers at {address} ({why_unreachable(detail)})",
        "start one with `steersman serve`, or name another with --daemon HOST:PORT or STEERSMAN_DAEMON",
    )


def command_error(error: grpc.RpcError, address: str) -> CommandError:
    """The one place where a gRPC status becomes an exit code."""
    import grpc

    # a call's error has both, but grpc and grpc.aio share no class that says so
    code = error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
    detail = clean((error.details() if hasattr(error, "details") else "") or "")
    match code:
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            return unreachable(address, detail)
        case grpc.StatusCode.UNIMPLEMENTED:
            return UnreachableError(
                f"what answers at {address} is no Steersman daemon, or one of another version ({detail})",
                "check the address; `steersman --version` says which version this is",
            )
        case grpc.StatusCode.NOT_FOUND:
            return NotFoundError(detail)
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.OUT_OF_RANGE:
            return UsageError(detail)
        case (
            grpc.StatusCode.FAILED_PRECONDITION
            | grpc.StatusCode.PERMISSION_DENIED
            | grpc.StatusCode.UNAUTHENTICATED
            | grpc.StatusCode.ABORTED
            | grpc.StatusCode.RESOURCE_EXHAUSTED
        ):
            return RefusedError(detail)
        case _:
            return CommandError(
                f"the daemon at {address} could not answer ({code.name}: {detail})", "its log says more"
            )


class OperatorClient:
    """One daemon, as an operator uses it. Every method returns views and raises `CommandError`.

    Attributes:
        address: HOST:PORT of the daemon.
    """

    def __init__(self, address: str, channel: grpc.Channel, timeout: float = 10.0) -> None:
        self.address = address
        self._stub = operator_pb2_grpc.OperatorServiceStub(channel)
        self._timeout = timeout

    def _ask(self, call: Callable[..., _Reply], request: object) -> _Reply:
        import grpc

        try:
            return call(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise command_error(error, self.address) from None

    def _about(self, job: str, call: Callable[..., _Reply], request: object) -> _Reply:
        """Like `_ask`, and where `job` is not known says which names come close."""
        try:
            return self._ask(call, request)
        except NotFoundError as error:
            names = [known.name for known in self.jobs(ended=True)]
            if job in names:
                raise
            raise not_found(job, names) from error

    def daemon(self) -> views.Daemon:
        """Who answers; checks the protocol version."""
        daemon = translate.daemon(self._ask(self._stub.GetDaemon, operator_pb2.GetDaemonRequest()))
        check_protocol(daemon, self.address)
        return daemon

    def jobs(self, ended: bool = False) -> tuple[views.Job, ...]:
        """All jobs, newest first."""
        reply = self._ask(self._stub.ListJobs, operator_pb2.ListJobsRequest(ended=ended))
        return tuple(translate.job(job) for job in reply.jobs)

    def job(self, name: str) -> views.JobDetail:
        """One job with its adjustments and events."""
        return translate.detail(self._about(name, self._stub.GetJob, operator_pb2.GetJobRequest(job=name)))

    def watch(self, name: str, timeout: float) -> Iterator[tuple[views.Job, tuple[views.Adjustment, ...]]]:
        """The present state of a job, then every change, until `timeout` seconds have passed."""
        import grpc

        request = operator_pb2.WatchJobsRequest(job=name, max_rate_hz=10)
        stream = self._stub.WatchJobs(request, timeout=timeout)
        try:
            for message in stream:
                if message.HasField("job"):
                    yield translate.job(message.job), tuple(translate.adjustment(a) for a in message.adjustments)
        except grpc.RpcError as error:
            if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return
            raise command_error(error, self.address) from None
        finally:
            stream.cancel()

    def provenance(self, name: str, rank: int, patience: float) -> views.Provenance:
        """Asks a running job where the numbers of its next sample come from, and waits for that sample."""
        request = operator_pb2.GetProvenanceRequest(job=name, rank=rank, patience_s=patience)

        def call(_: object, timeout: float) -> operator_pb2.GetProvenanceResponse:
            return self._stub.GetProvenance(request, timeout=timeout + patience)

        reply = self._about(name, call, request)
        if reply.problem:
            raise CommandError(clean(reply.problem), f"`steersman show {name}` says how the job stands")
        return translate.provenance(reply)

    def series_list(self, job: str) -> tuple[views.SeriesInfo, ...]:
        """What series a job has."""
        request = operator_pb2.ListSeriesRequest(job=job)
        return translate.series_list(self._about(job, self._stub.ListSeries, request))

    def series(self, job: str, name: str, resolution: int, ranks: tuple[int, ...] = ()) -> views.Series:
        """One series; `resolution` 0 is every stored point."""
        request = operator_pb2.GetSeriesRequest(job=job, name=name, resolution=resolution, ranks=ranks)
        try:
            return translate.series(self._about(job, self._stub.GetSeries, request))
        except NotFoundError as error:
            names = [known.name for known in self.series_list(job)]
            if name in names:
                raise
            raise not_found(name, names, f"job {job} has no series", "series") from error

    def adjustments(self, job: str = "", waiting: bool = False) -> tuple[views.Adjustment, ...]:
        """Adjustments of one job, or of all."""
        request = operator_pb2.ListAdjustmentsRequest(job=job, waiting=waiting)
        reply = self._about(job, self._stub.ListAdjustments, request)
        return tuple(translate.adjustment(a) for a in reply.adjustments)

    def propose(
        self, job: str, kind: str, value: float | None, over_steps: int, reason: str, dry_run: bool = False
    ) -> views.Adjustment:
        """Asks for an adjustment in the operator's own name."""
        request = operator_pb2.ProposeAdjustmentRequest(
            job=job,
            kind=types_pb2.AdjustmentKind.Value(f"ADJUSTMENT_KIND_{kind.upper()}"),
            value=value or 0.0,
            over_steps=over_steps,
            reason=reason,
            operator=operator_name(),
            dry_run=dry_run,
        )
        return translate.adjustment(self._about(job, self._stub.ProposeAdjustment, request).adjustment)

    def approve(self, adjustment_id: str) -> views.Adjustment:
        """Says yes to a proposed adjustment."""
        request = operator_pb2.ApproveAdjustmentRequest(adjustment_id=adjustment_id, operator=operator_name())
        return translate.adjustment(self._ask(self._stub.ApproveAdjustment, request).adjustment)

    def reject(self, adjustment_id: str, reason: str) -> views.Adjustment:
        """Says no to a proposed adjustment."""
        request = operator_pb2.RejectAdjustmentRequest(
            adjustment_id=adjustment_id, operator=operator_name(), reason=reason
        )
        return translate.adjustment(self._ask(self._stub.RejectAdjustment, request).adjustment)

    def revert(self, adjustment_id: str, reason: str) -> views.Adjustment:
        """Takes an adjustment in force back."""
        request = operator_pb2.RevertAdjustmentRequest(
            adjustment_id=adjustment_id, operator=operator_name(), reason=reason
        )
        return translate.adjustment(self._ask(self._stub.RevertAdjustment, request).adjustment)

    def ledger(self, job: str) -> views.Ledger:
        """The record of all adjustments of a job."""
        return translate.ledger(self._about(job, self._stub.GetLedger, operator_pb2.GetLedgerRequest(job=job)))


def not_found(name: str, known: list[str], message: str = "there is no job", noun: str = "jobs") -> NotFoundError:
    """An unknown name, with the known names that come close."""
    known = list(dict.fromkeys(known))  # attempts of one job share its name
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    close += [other for other in known if name.lower() in other.lower() and other not in close][: 3 - len(close)]
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif known:
        shown = ", ".join(sorted(known)[:8])
        hint = f"known {noun}: {shown}" + (f" and {len(known) - 8} more" if len(known) > 8 else "")
    else:
        hint = f"there are no {noun} yet" + ("; start one with `steersman run -- python train.py`" * (noun == "jobs"))
    return NotFoundError(f"{message} {clean(name)!r}", hint)


@contextmanager
def connect(address: str, timeout: float = 10.0) -> Iterator[OperatorClient]:
    """A client of the daemon at `address`, whose protocol version has been checked."""
    # gRPC logs connection attempts on stderr, where people expect our one sentence
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc

    check_address(address)
    with grpc.insecure_channel(address, options=channel_options(address)) as channel:
        client = OperatorClient(address, channel, timeout)
        client.daemon()
        yield client
