"""How much of the journal and of the ledger one client may fill in a minute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

A_MINUTE = 600.0
"""Events that one client may cause in a minute, and at once."""

DirectionAndPurpose = tuple[str, str]
"""Direction and purpose of bytes that have moved."""


class Allowance:
    """A token bucket for each client. now: seconds of a clock that is never set."""

    def __init__(self, now: Callable[[], float], a_minute: float | None = None) -> None:
        """Nobody has caused anything. a_minute: see A_MINUTE."""
        self._now, self._most = now, A_MINUTE if a_minute is None else a_minute
        self._left: dict[str, tuple[float, float]] = {}  # events left, as of when
        self._bytes: dict[str, Counter[DirectionAndPurpose]] = {}

    def wait_s(self, client: str, events: int = 1) -> float:
        """Take so many events from a client's minute; return 0, or how long it must wait, seconds.

        Nothing is taken where it must wait.
        """
        now = self._now()
        left, then = self._left.get(client, (self._most, now))
        left = min(self._most, left + (now - then) * self._most / 60.0)
        missing = min(events, self._most) - left
        self._left[client] = (left - events if missing <= 0 else left, now)
        return max(0.0, missing * 60.0 / self._most)

    def moved(
        self, client: str, moved: Counter[DirectionAndPurpose]
    ) -> Counter[DirectionAndPurpose]:
        """Count bytes that a client has moved; return what is to be journalled now, by kind.

        Beyond its minute that is nothing: the bytes are part of what is returned later.
        """
        counted = self._bytes.setdefault(client, Counter())
        counted.update(moved)
        due = +counted
        if not due or self.wait_s(client, len(due)) > 0:
            return Counter()
        del self._bytes[client]
        return due
