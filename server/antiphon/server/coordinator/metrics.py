"""What a coordinator tells Prometheus, and a small HTTP server for it: /metrics, /healthz and /status.

Plain HTTP on the loopback by default. Nothing here is secret: no token, no key, no value of an update.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app

Status = Callable[[], Mapping[str, Any]]
"""What the run is at, as plain values; called in a thread of the HTTP server."""

_LONGEST_CALL_S = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)


class CoordinatorMetrics:
    """The numbers of one coordinator, in a registry of their own."""

    def __init__(self) -> None:
        """All zero."""
        self.registry = CollectorRegistry()
        registry = self.registry
        self.clients = Gauge("antiphon_clients", "Clients that are there.", registry=registry)
        self.round = Gauge("antiphon_round", "The round in work.", registry=registry)
        self.bytes = Counter(
            "antiphon_blob_bytes",
            "Bytes of models and updates moved.",
            ["direction"],
            registry=registry,
        )
        self.updates = Counter(
            "antiphon_updates", "Updates by what became of them.", ["verdict"], registry=registry
        )
        self.loop_lag = Histogram(
            "antiphon_loop_lag_seconds",
            "How late the event loop is.",
            buckets=_LONGEST_CALL_S,
            registry=registry,
        )

    def moved(self, direction: str, size: int) -> None:
        """Count bytes of a blob, `up` or `down`."""
        self.bytes.labels(direction).inc(size)

    def answered(self, verdict: str) -> None:
        """Count an update."""
        self.updates.labels(verdict).inc()


class HttpPages:
    """Serves the pages from a thread until closed."""

    def __init__(self, address: str, registry: CollectorRegistry, status: Status) -> None:
        """Listen on HOST:PORT (port 0: any). Raises OSError where that cannot be."""
        self._metrics = make_wsgi_app(registry)
        self._status = status
        host, _, port = address.rpartition(":")
        self._server = make_server(host, int(port), self._answer, _Threads, _Quiet)
        self.port: int = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                found: Iterable[bytes] = self._metrics(environ, start)
                return found
            case "/healthz" | "/status" as path:
                status = self._status()
                healthy = bool(status.get("healthy", True))
                code = "200 OK" if healthy or path == "/status" else "503 Service Unavailable"
                shown = status if path == "/status" else {"healthy": healthy}
                start(code, [("Content-Type", "application/json")])
                return [json.dumps(shown).encode() + b"\n"]
        start("404 Not Found", [("Content-Type", "text/plain")])
        return [b"/metrics, /healthz or /status\n"]


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 10  # seconds: a silent caller does not hold its thread for ever

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base's name)
        """Say nothing: a scrape every few seconds is no news."""
