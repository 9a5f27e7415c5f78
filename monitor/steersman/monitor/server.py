"""The gRPC server: what it serves, where it listens, what it bears."""

from __future__ import annotations

import ipaddress

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from steersman.monitor import ports
from steersman.monitor.errors import AddressInUseError, SettingsError
from steersman.monitor.service import OperatorService
from steersman.monitor.settings import Address, IngestSettings
from steersman.monitor.telemetry import TelemetryService
from steersman.v1 import operator_pb2, operator_pb2_grpc, telemetry_pb2, telemetry_pb2_grpc

SERVICES = (
    telemetry_pb2.DESCRIPTOR.services_by_name["TelemetryService"].full_name,
    operator_pb2.DESCRIPTOR.services_by_name["OperatorService"].full_name,
)


def options(bounds: IngestSettings) -> list[tuple[str, int]]:
    """Channel arguments of the server."""
    return [
        # Two daemons on one port would each get half of the agents.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", bounds.max_message_bytes),
        # A full-detail series of a long job is larger than a request may be.
        ("grpc.max_send_message_length", 64 * 1024 * 1024),
        # With gRPC's defaults a half-open stream goes unseen for minutes.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 3_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ]


def check_address(listen: Address, *, insecure: bool) -> str:
    """Refuse an address that others can reach, unless it was insisted on; then a warning, else nothing.

    Raises:
        SettingsError: it is not loopback.
    """
    try:
        loopback = listen.host == "localhost" or ipaddress.ip_address(listen.host).is_loopback
    except ValueError:
        loopback = False
    if loopback:
        return ""
    if not insecure:
        raise SettingsError(
            f"{listen} can be reached from other machines, and this version has neither TLS nor tokens yet (both are "
            f"to come): listen on 127.0.0.1 and reach it through ssh -L or a proxy of your own, or, inside a container "
            f"whose network you trust, insist with --insecure-listen"
        )
    return f"{listen} can be reached from other machines without TLS or token: anybody there can change learning rates"


def check_port(listen: Address) -> None:
    """Refuse an address where nothing can listen.

    Raises:
        AddressInUseError: another process listens there, or it is not this machine's.
    """
    if ports.objection(listen) is not None:
        raise _in_use(listen)


def _in_use(listen: Address) -> AddressInUseError:
    return AddressInUseError(
        f"can't listen on {listen}: the port is in use, or the address is not this machine's; if a daemon of yours "
        f"runs there already, use it, else choose another port with --listen HOST:PORT "
        f"(--listen {listen.host}:0 picks a free one)"
    )


async def start(
    telemetry: TelemetryService, operators: OperatorService, listen: Address, bounds: IngestSettings
) -> tuple[grpc.aio.Server, HealthServicer, Address]:
    """Listen and serve; the server, its health, and the address with the port that was picked.

    Raises:
        AddressInUseError: another process listens there.
    """
    server = grpc.aio.server(options=options(bounds))
    telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(telemetry, server)
    operator_pb2_grpc.add_OperatorServiceServicer_to_server(operators, server)
    well = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(well, server)
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    try:
        port = server.add_insecure_port(str(listen))
    except RuntimeError:
        port = 0
    if not port:
        await server.stop(None)
        raise _in_use(listen)
    await server.start()
    for name in ("", *SERVICES):
        await well.set(name, health_pb2.HealthCheckResponse.SERVING)
    return server, well, Address(listen.host, port)
