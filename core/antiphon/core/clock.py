"""Time as an argument: the system's clock, and one that moves only when told to."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()


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
