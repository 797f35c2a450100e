"""Who has done what it should not too often of late."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

WITHIN_S = 60.0
"""Time for which a trespass counts, and for which one is over the bound then, seconds."""
MOST_NAMES = 10_000
"""Names that are remembered; beyond it the one that did something longest ago is forgotten."""


class Trespasses:
    """Counts by name. now: seconds of a clock that is never set; most: weights within WITHIN_S."""

    def __init__(self, now: Callable[[], float], *, most: int) -> None:
        """Nobody has done anything."""
        self._now, self._most = now, most
        self._of: dict[str, deque[tuple[float, int]]] = {}
        self._until: dict[str, float] = {}

    def add(self, name: str, weight: int) -> None:
        """Note a trespass."""
        now = self._now()
        done = self._of.pop(name, deque[tuple[float, int]]())
        done.append((now, weight))
        while done[0][0] <= now - WITHIN_S:
            done.popleft()
        self._of[name] = done
        if sum(each for _, each in done) >= self._most:
            self._until[name] = now + WITHIN_S
        if len(self._of) > MOST_NAMES:
            del self._of[next(iter(self._of))]
        if len(self._until) > MOST_NAMES:
            del self._until[next(iter(self._until))]

    def over(self, name: str) -> bool:
        """Return whether the bound was passed less than WITHIN_S ago."""
        return self._until.get(name, 0.0) > self._now()
