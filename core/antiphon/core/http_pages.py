"""A few pages over plain HTTP, from a thread of their own: metrics for Prometheus, health, status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from threading import Thread

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

_SILENT_CALLER_S = 10


@dataclass(frozen=True)
class Page:
    """What is answered: the content, its type, and the status code."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    code: int = 200


Pages = Mapping[str, Callable[[], Page]]
"""By path; called for each request, in a thread of the server."""


def metrics_page(registry: CollectorRegistry) -> Page:
    """Return what Prometheus reads."""
    return Page(generate_latest(registry), CONTENT_TYPE_LATEST)


class HttpPages:
    """Serves pages until closed."""

    def __init__(self, address: str, pages: Pages) -> None:
        """Listen on HOST:PORT (port 0: any; IPv6 in brackets). Raises OSError where that cannot be."""
        host, _, port = address.rpartition(":")
        family = AF_INET6 if ":" in host else AF_INET
        server = type("_Server", (ThreadingHTTPServer,), {"address_family": family})
        self._server = server((host.strip("[]"), int(port)), _handler_of(pages))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler_of(pages: Pages) -> type[BaseHTTPRequestHandler]:
    known = ", ".join(sorted(pages))

    class Handler(BaseHTTPRequestHandler):
        timeout = _SILENT_CALLER_S  # it does not hold its thread for ever

        def do_GET(self) -> None:
            found = pages.get(self.path.partition("?")[0])
            page = found() if found else Page(f"there are {known}\n".encode(), code=404)
            self.send_response(page.code)
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            self.wfile.write(page.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name in the base class)
            """Say nothing: a scrape is not an event."""

    return Handler
