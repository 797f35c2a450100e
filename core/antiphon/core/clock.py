"""Time as an argument: the system's clock, one that nobody can set, one that moves only when told to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

JUMP_S = 30.0
"""Seconds by which the system's clock must be set at once before anybody is told."""


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        ...


class SystemClock:
    """The machine's own clock: what people and certificates go by. Anybody may set it at any time."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()


class SteadyClock:
    """The system's time at the beginning, and from then on the seconds that have passed since.

    It never goes back and never jumps, so deadlines go by it, and its times can still be read by people.
    After a restart it begins at the system's time again.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """wall: seconds since the Unix epoch; elapsed: seconds of a clock that cannot be set."""
        self._wall, self._elapsed = wall, elapsed
        self._anchor = wall() - elapsed()
        self._told_s = 0.0

    def now(self) -> float:
        """Return seconds since the Unix epoch, as the system's clock would count them if nobody set it."""
        return self._anchor + self._elapsed()

    def jump_s(self) -> float | None:
        """Return by how many seconds the system's clock was set since the last look; none: by less than
        JUMP_S. It is told once.
        """
        ahead_s = self._wall() - self.now()
        jump_s = ahead_s - self._told_s
        if abs(jump_s) <= JUMP_S:
            return None
        self._told_s = ahead_s
        return jump_s


class VirtualClock:
    """A clock that stands still until it is moved: simulated time, and tests without sleep."""

    def __init__(self, start: float = 0.0) -> None:
        """Start at `start` seconds."""
        self._now = start

    def now(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def advance_to(self, when: float) -> None:
        """Move forward to `when` (seconds); a moment in the past leaves the clock where it is."""
        self._now = max(self._now, when)
