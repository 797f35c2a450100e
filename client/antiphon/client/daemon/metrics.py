"""What a daemon counts, for Prometheus: in a registry of its own, served by a thread on request."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from threading import Thread

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from antiphon.core.errors import ConfigError


class Metrics:
    """The counters of one daemon; `now` (seconds, of any zero) is an argument."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self._now = now
        self._contact = now()
        self.tasks = self._counter("tasks", "Tasks, by kind and how they ended.", "kind", "result")
        self.bytes = self._counter("transfer_bytes", "Content of blobs, by direction.", "direction")
        self.reconnects = self._counter("reconnects", "Contacts regained after a failed call.")
        self.training = self._counter("training_seconds", "Seconds spent in training.")
        self.outbox = self._gauge("outbox_entries", "Updates without a final answer.")
        self.expiry = self._gauge("certificate_expiry_seconds", "Unix time of its end.")
        silence = self._gauge("silence_seconds", "Seconds since the coordinator last answered.")
        silence.set_function(lambda: self._now() - self._contact)

    def contact(self) -> None:
        """The coordinator has answered."""
        self._contact = self._now()

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"antiphon_client_{name}", what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(f"antiphon_client_{name}", what, registry=self.registry)


class MetricsServer:
    """`/metrics` and `/healthz` over plain HTTP, in a thread of its own."""

    def __init__(self, address: str, registry: CollectorRegistry) -> None:
        """address: HOST:PORT. Raises ConfigError where it cannot be listened on."""
        host, port = address.rsplit(":", 1)
        kind = _server_of(host)
        try:
            self._server = kind((host.strip("[]"), int(port)), _handler_of(registry))
        except OSError as error:
            raise ConfigError(
                f"metrics: cannot listen on {address}: {error.strerror}. Choose another port"
            ) from None
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _server_of(host: str) -> type[ThreadingHTTPServer]:
    class Server(ThreadingHTTPServer):
        address_family = AF_INET6 if ":" in host else AF_INET

    return Server


def _handler_of(registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._answer(b"ok\n", "text/plain; charset=utf-8")
            elif self.path.split("?")[0] == "/metrics":
                self._answer(generate_latest(registry), CONTENT_TYPE_LATEST)
            else:
                self.send_error(404, "there are /metrics and /healthz")

        def _answer(self, body: bytes, content_type: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name in the base class)
            """Say nothing: a scrape is not an event."""

    return Handler
