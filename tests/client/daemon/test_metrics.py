"""The daemon's metrics can be scraped, and its health asked."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from antiphon.client.daemon.metrics import Metrics, serve_metrics
from antiphon.core.clock import VirtualClock
from antiphon.core.errors import ConfigError
from antiphon.core.http_pages import HttpPages


@pytest.fixture
def clock() -> VirtualClock:
    """A clock at zero."""
    return VirtualClock()


@pytest.fixture
def metrics(clock: VirtualClock) -> Metrics:
    """Metrics at zero."""
    return Metrics(clock.now)


@pytest.fixture
def server(metrics: Metrics) -> Iterator[HttpPages]:
    """A server on a free port."""
    server = serve_metrics("127.0.0.1:0", metrics.registry)
    yield server
    server.close()


def get(server: HttpPages, path: str) -> tuple[int, str]:
    """Ask for a path; return status and text."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_counters_are_served(metrics: Metrics, server: HttpPages) -> None:
    """What was counted is in /metrics."""
    metrics.tasks.labels("train", "done").inc()

    _, text = get(server, "/metrics")

    assert 'antiphon_client_tasks_total{kind="train",result="done"} 1.0' in text


def test_silence_is_the_time_since_the_last_answer(
    clock: VirtualClock, metrics: Metrics, server: HttpPages
) -> None:
    """The seconds since the coordinator last answered are measured when asked."""
    clock.advance_to(100)
    metrics.contact()
    clock.advance_to(107)

    assert "antiphon_client_silence_seconds 7.0" in get(server, "/metrics")[1]


def test_health_is_told(server: HttpPages) -> None:
    """/healthz answers while the process lives; anything else is not found."""
    assert get(server, "/healthz") == (200, "ok\n")
    assert get(server, "/")[0] == 404


def test_port_in_use_is_said(server: HttpPages, metrics: Metrics) -> None:
    """A port that is taken is an error that names it."""
    with pytest.raises(ConfigError, match=f"127.0.0.1:{server.port}"):
        serve_metrics(f"127.0.0.1:{server.port}", metrics.registry)
