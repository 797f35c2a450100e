"""Wakes a thread when somebody connects, so that it may sleep while nobody does."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable


class Doorbell:
    """Rings when a connection waits to be taken. `wait` belongs to one thread, `end` to any other."""

    def __init__(self, listeners: Iterable[int]) -> None:
        """listeners: descriptors of somebody else's listening sockets; they may be closed meanwhile."""
        self._inside, self._outside = socket.socketpair()
        self._asleep, self._awake = select.poll(), select.poll()
        for poll in (self._asleep, self._awake):
            poll.register(self._inside, select.POLLIN)
        for listener in listeners:
            self._asleep.register(listener, select.POLLIN)

    def wait(self, timeout_s: float, *, asleep: bool) -> bool | None:
        """Wait; True: it rang; False: the time is up; None: it is over. Not asleep: it does not ring."""
        rang = False
        for descriptor, what in (self._asleep if asleep else self._awake).poll(timeout_s * 1000):
            if descriptor == self._inside.fileno():
                return None
            if what & ~select.POLLIN:  # closed: nobody comes there any more
                self._asleep.unregister(descriptor)
            rang = True
        return rang

    def end(self) -> None:
        """Let the one who waits go."""
        self._outside.close()

    def close(self) -> None:
        """Free the sockets; nobody waits any more."""
        self._inside.close()
        self._outside.close()
