"""Uses the generated protobuf code with whatever protobuf and grpcio this interpreter has.

`write FILE` makes a call over a real channel and stores a message; `read FILE` checks a stored one. Run by
protobuf_range.sh in environments that have nothing but protobuf and grpcio.
"""

from __future__ import annotations

import struct
import sys
from concurrent import futures
from pathlib import Path

import google.protobuf
import grpc

from steersman.v1 import operator_pb2, operator_pb2_grpc, telemetry_pb2, types_pb2


def message() -> telemetry_pb2.StreamRequest:
    """A batch with one column, as an agent sends it."""
    batch = telemetry_pb2.Batch(attempt_id="a" * 32, rank=1, first_seq=7, rows=2)
    batch.steps = struct.pack("<2q", 6, 7)
    batch.times = struct.pack("<2d", 1.5, 2.5)
    batch.columns.add(name="loss", unit="", values=struct.pack("<2d", 0.5, float("nan")), present=b"\x03")
    return telemetry_pb2.StreamRequest(batches=telemetry_pb2.BatchGroup(batches=[batch]))


class _Operators(operator_pb2_grpc.OperatorServiceServicer):
    def ListJobs(self, request, context):  # type: ignore[no-untyped-def]
        reply = operator_pb2.ListJobsResponse()
        reply.jobs.add(name="tried")
        return reply


def call() -> None:
    """One call through generated stub and servicer."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    operator_pb2_grpc.add_OperatorServiceServicer_to_server(_Operators(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            reply = operator_pb2_grpc.OperatorServiceStub(channel).ListJobs(
                operator_pb2.ListJobsRequest(), timeout=20, wait_for_ready=True
            )
        assert [job.name for job in reply.jobs] == ["tried"], reply
    finally:
        server.stop(None).wait()


def main(verb: str, path: Path) -> None:
    """Write or read, and say with which versions."""
    if verb == "write":
        call()
        path.write_bytes(message().SerializeToString(deterministic=True))
    else:
        read = telemetry_pb2.StreamRequest.FromString(path.read_bytes())
        # NaN is never equal to itself, but its bytes are.
        assert read.SerializeToString(deterministic=True) == message().SerializeToString(deterministic=True), read
        assert types_pb2.Policy.Name(types_pb2.POLICY_AUTO) == "POLICY_AUTO"
    print(f"protobuf {google.protobuf.__version__}, grpcio {grpc.__version__}: {verb} {path.name}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
