"""The packets between a probe and its agent, over AF_UNIX SEQPACKET.

One packet is one message. The first two bytes say its kind and the version of this format. Rows are binary and fixed
in shape, because one is sent for every optimizer step; everything else is rare and JSON.

A row carries the columns that the probe declared last with a `SCHEMA` packet, in that order. Bit i of its presence
mask says whether column i has a value in this row: a value that is absent is unknown, NaN is a value like any other.

Standard library only, syntax of Python 3.9: this file is part of what enters the training process.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

VERSION = 1

# probe to agent
HELLO = 1  # JSON: who we are; see docs/architecture.md
SCHEMA = 2  # JSON: {"id": int, "columns": [[name, unit], …]}; at most 64 columns
ROW = 3  # binary, see ROW_HEAD
EVENT = 4  # JSON: {"time", "step", "kind", "message", "count"}
ACK = 5  # JSON: {"adjustment_id", "state", "step", "lr", "own_lr", "message", "time"}
BYE = 6  # JSON: {"outcome": "finished" | "failed" | "detached", "message", "time"}
# launcher (`steersman run`) to agent
LAUNCH = 7  # JSON: a job is about to start
EXIT = 8  # JSON: {"attempt_id", "exit_code", "signal", "time"}
QUERY = 9  # JSON: {"what": "status" | "job" | "detach" | "stop", "attempt_id"?, "name"?, "pid"?}
SHARED = 10  # JSON: {}; with it comes the descriptor of memory in which rows lie from here on, see shared.py
ANSWER = 11  # JSON: {"ids": [str, …], "step": int, "sources": [[series, value or null, words], …]}
# agent to probe or launcher
WELCOME = 32  # JSON: {"attempt_id", "job", "shared"?}; sent again when the daemon grants another name
COMMAND = 33  # JSON: {"adjustment_id", "overlay": {"factor": x} | {"value": x}, "over_steps", "expires_at", "counter"}
REPLY = 34  # JSON: the answer to a QUERY
REFUSED = 35  # JSON: {"message"}
DETACH = 36  # JSON: {}: leave the job, which goes on without the probe
ASK = 37  # JSON: {"id": str}: where do the numbers of your next sample come from?

MAX_PACKET = 64 * 1024
MAX_COLUMNS = 64

_HEAD = struct.Struct("<BB")
# kind, version, schema id, sequence number, step, wall clock, presence mask
ROW_HEAD = struct.Struct("<BBHQqdQ")


class PacketError(ValueError):
    """A packet that does not follow this format."""


class Row(NamedTuple):
    """One sample as it came in: the values of absent columns mean nothing."""

    schema: int
    seq: int
    step: int
    time: float
    present: int
    values: Tuple[float, ...]


def row_struct(columns: int, before: str = "") -> struct.Struct:
    r"""The layout of a row with so many columns, and of what stands before it: compile once, pack for every step.

    >>> row_struct(2).pack(ROW, VERSION, 0, 1, 0, 0.0, 0b01, 2.5, 0.0)[:2]
    b'\\x03\\x01'
    """
    if not 0 <= columns <= MAX_COLUMNS:
        raise PacketError(f"a row has at most {MAX_COLUMNS} columns, not {columns}")
    return struct.Struct(f"<{before}{ROW_HEAD.format[1:]}{columns}d")


def unpack_row(packet: bytes) -> Row:
    """Read one row.

    Raises:
        PacketError: it is too short or its length fits no number of columns.
    """
    extra = len(packet) - ROW_HEAD.size
    if extra < 0 or extra % 8:
        raise PacketError(f"a row of {len(packet)} bytes fits no number of columns")
    fields = row_struct(extra // 8).unpack(packet)
    return Row(fields[2], fields[3], fields[4], fields[5], fields[6], fields[7:])


def pack_json(kind: int, message: Dict[str, Any]) -> bytes:
    """Write one of the JSON packets; non-finite floats are allowed, as Python writes them."""
    return _HEAD.pack(kind, VERSION) + json.dumps(message, separators=(",", ":")).encode()


def kind_of(packet: bytes) -> int:
    """The kind of a packet.

    Raises:
        PacketError: it is too short, too long or of another version.
    """
    if len(packet) < _HEAD.size or len(packet) > MAX_PACKET:
        raise PacketError(f"a packet of {len(packet)} bytes")
    kind, version = _HEAD.unpack_from(packet)
    if version != VERSION:
        raise PacketError(f"packet version {version}, this side speaks {VERSION}")
    return int(kind)


def unpack_json(packet: bytes) -> Dict[str, Any]:
    """Read the body of one of the JSON packets.

    Raises:
        PacketError: it is no JSON object.
    """
    try:
        message = json.loads(packet[_HEAD.size :].decode())
    except ValueError as error:
        raise PacketError(f"a packet that is no JSON: {error}") from None
    if not isinstance(message, dict):
        raise PacketError("a packet whose JSON is no object")
    return message


def schema(identity: int, columns: Sequence[Tuple[str, str]]) -> bytes:
    """Declare the columns of the rows to come as (name, unit)."""
    if len(columns) > MAX_COLUMNS:
        raise PacketError(f"a row has at most {MAX_COLUMNS} columns, not {len(columns)}")
    names: List[List[str]] = [[name, unit] for name, unit in columns]
    return pack_json(SCHEMA, {"id": identity, "columns": names})


def socket_name(runtime_folder: str, daemon: Optional[str] = None) -> str:
    """Where the agent for a daemon address listens, inside a folder that only its user may enter."""
    import hashlib

    key = hashlib.sha256((daemon or "127.0.0.1:7461").encode()).hexdigest()[:16]
    return "{}/agent-{}.sock".format(runtime_folder.rstrip("/"), key)
