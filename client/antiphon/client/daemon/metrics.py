"""What a daemon counts, for Prometheus: in a registry of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from antiphon.core.errors import ConfigError
from antiphon.core.http_pages import HttpPages, Page, Pages, metrics_page


class Metrics:
    """The counters of one daemon; `now` (seconds, of any zero) is an argument."""

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin at zero. heard: called whenever the coordinator has answered."""
        self.registry = CollectorRegistry()
        self._now, self._heard = now, heard
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
        self._heard()

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"antiphon_client_{name}", what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(f"antiphon_client_{name}", what, registry=self.registry)


def serve_metrics(address: str, registry: CollectorRegistry) -> HttpPages:
    """Serve `/metrics` and `/healthz` on HOST:PORT. Raises ConfigError where it cannot be listened on."""
    pages: Pages = {"/metrics": partial(metrics_page, registry), "/healthz": lambda: Page(b"ok\n")}
    try:
        return HttpPages(address, pages)
    except OSError as error:
        raise ConfigError(
            f"metrics: cannot listen on {address}: {error.strerror}. Choose another port"
        ) from None
