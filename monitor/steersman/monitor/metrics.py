"""The HTTP server behind /metrics and /healthz, in threads of its own: rendering must not hold up acknowledgements."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable

from steersman.monitor import ports
from steersman.monitor.errors import AddressInUseError
from steersman.monitor.settings import Address

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def check_port(address: Address) -> None:
    """Refuse an address where nothing can listen.

    Raises:
        AddressInUseError: another process listens there, or it is not this machine's.
    """
    error = ports.objection(address)
    if error is not None:
        raise _in_use(address, error)


def _in_use(address: Address, error: OSError) -> AddressInUseError:
    return AddressInUseError(
        f"can't serve metrics on {address}: {error.strerror or error}; "
        f"choose another port with --metrics HOST:PORT, or --metrics {address.host}:0 for a free one"
    )


class MetricsServer:
    """Serves one page.

    Args:
        address: where to listen; port 0 picks one.
        page: makes the page; called in a thread of the server.
        healthy: whether the daemon is serving; called likewise.
    """

    def __init__(self, address: Address, page: Callable[[], bytes], healthy: Callable[[], bool]) -> None:
        self.address = address
        self._page = page
        self._healthy = healthy
        self._server: http.server.ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Address:
        """Listen; the address with the port that was picked.

        Raises:
            AddressInUseError: another process listens there.
        """
        page, healthy = self._page, self._healthy

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10  # a client that says nothing may not keep a thread
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._answer(200, page(), CONTENT_TYPE)
                elif path == "/healthz":
                    well = healthy()
                    self._answer(200 if well else 503, b"ok\n" if well else b"not serving\n", "text/plain")
                else:
                    self._answer(404, b"there is /metrics and /healthz\n", "text/plain")

            def _answer(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """A scrape every few seconds is no news."""

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False  # connections kept alive by a scraper must not hold up the end

            def server_bind(self) -> None:
                # The base class asks the resolver for this host's name here, which can take seconds and is not needed.
                http.server.HTTPServer.__bases__[0].server_bind(self)  # type: ignore[attr-defined]

        try:
            self._server = Server((self.address.host, self.address.port), Handler)
        except OSError as error:
            raise _in_use(self.address, error) from None
        self.address = Address(self.address.host, int(self._server.server_address[1]))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="steersman-metrics", daemon=True
        )
        self._thread.start()
        return self.address

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None
