"""What a connection may still send: a balance that calls fill up, and that is never above a bound."""

from __future__ import annotations


class Credit:
    """The balance of one connection, bytes. It may be spent below zero where somebody vouches for it."""

    def __init__(self, most: int) -> None:
        """It is full. most: what can be had at once."""
        self._most, self._left = most, float(most)
        self._as_of: float | None = None

    @property
    def left(self) -> int:
        """What may be sent now."""
        return int(self._left)

    @property
    def owed(self) -> int:
        """What was sent and is not paid for by anything."""
        return int(self._most - self._left)

    def spend(self, size: int) -> None:
        """Note what was sent."""
        self._left -= size

    def earn(self, size: float) -> None:
        """Add to the balance; what goes over the bound is lost, so that nobody saves up for a flood."""
        self._left = min(self._most, self._left + size)

    def earn_with_time(self, now: float, per_s: float) -> None:
        """Add what has become due since the last time. now: seconds of a clock that is never set."""
        if self._as_of is not None:
            self.earn((now - self._as_of) * per_s)
        self._as_of = now

    def widen(self, most: int) -> None:
        """Raise the bound, and give the difference."""
        more = max(0, most - self._most)
        self._most += more
        self._left += more
