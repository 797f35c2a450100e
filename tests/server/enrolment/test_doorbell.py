"""Who waits is woken by a caller, and by nothing else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from antiphon.server.enrolment.doorbell import Doorbell

PATIENCE_S = 20.0


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def bell(listener: socket.socket) -> Iterator[Doorbell]:
    """A bell on it."""
    made = Doorbell([listener.fileno()])
    yield made
    made.close()


def test_it_rings(listener, bell):
    """A caller wakes who is asleep."""
    with socket.create_connection(listener.getsockname()):
        assert bell.wait(PATIENCE_S, asleep=True) is True


def test_nobody_comes(bell):
    """Without a caller the time is up."""
    assert bell.wait(0.0, asleep=True) is False


def test_who_is_awake_does_not_hear_it(listener, bell):
    """A caller that nobody has taken yet does not ring again and again."""
    with socket.create_connection(listener.getsockname()):
        assert bell.wait(0.0, asleep=False) is False


def test_the_end(bell):
    """Who waits is let go at the end."""
    heard: list[bool | None] = []
    waiting = threading.Thread(target=lambda: heard.append(bell.wait(PATIENCE_S, asleep=True)))
    waiting.start()

    bell.end()
    waiting.join()

    assert heard == [None]


def test_a_listener_that_has_gone(listener, bell):
    """Where nobody listens any more, it rings once, and is quiet from then on."""
    listener.close()

    assert [bell.wait(0.0, asleep=True) for _ in range(2)] == [True, False]
