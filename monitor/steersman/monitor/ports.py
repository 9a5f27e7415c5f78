"""Whether a server could listen at an address, asked before anything is made for it."""

from __future__ import annotations

import socket

from steersman.monitor.settings import Address


def objection(address: Address) -> OSError | None:
    """Why nothing can listen at `address` now; None where something can, or where port 0 lets the system choose.

    Asked first because gRPC writes a line of its own on stderr when it fails to listen. Whoever takes the port between
    the question and the use of the answer is still noticed then.
    """
    if not address.port:
        return None
    try:
        places = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        return error
    refused: OSError | None = None
    for family, kind, protocol, _, place in places:
        try:
            with socket.socket(family, kind, protocol) as probe:
                # as the servers do: connections of a daemon that has just ended are no obstacle
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
        except OSError as error:
            refused = error
        else:
            return None
    return refused
