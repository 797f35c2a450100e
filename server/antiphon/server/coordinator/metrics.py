"""What a coordinator tells Prometheus, and its pages: /metrics, /healthz and /status.

Plain HTTP on the loopback by default. Nothing here is secret: no token, no key, no value of an update.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from antiphon.core.http_pages import Page, Pages, metrics_page
from antiphon.core.json_text import json_text

StatusSource = Callable[[], Mapping[str, Any]]
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


def coordinator_pages(registry: CollectorRegistry, status: StatusSource) -> Pages:
    """Return the coordinator's pages: /metrics, /healthz and /status."""

    def healthz() -> Page:
        healthy = bool(status().get("healthy", True))
        return _json({"healthy": healthy}, 200 if healthy else 503)

    return {
        "/metrics": lambda: metrics_page(registry),
        "/healthz": healthz,
        "/status": lambda: _json(status(), 200),
    }


def _json(shown: Mapping[str, Any], code: int) -> Page:
    return Page(f"{json_text(shown)}\n".encode(), "application/json", code)
