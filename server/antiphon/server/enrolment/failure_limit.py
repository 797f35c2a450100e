"""How often a peer may fail: a token bucket for each address, so that nobody guesses tokens at speed."""

from __future__ import annotations

from collections.abc import Callable

from antiphon.server.front.peers import address_of

MOST_PEERS = 10_000
"""Addresses that are remembered; beyond it the one that failed longest ago is forgotten."""


class FailureLimit:
    """Counts failures: `burst` at once, then `per_s` a second. Success costs nothing.

    now: seconds of any clock that does not go back.
    """

    def __init__(
        self, now: Callable[[], float], *, burst: float = 10.0, per_s: float = 0.2
    ) -> None:
        """Nobody has failed yet."""
        self._now, self._burst, self._per_s = now, burst, per_s
        self._failures: dict[str, tuple[float, float]] = {}  # address: (failures left, as of when)

    def wait_s(self, peer: str) -> float:
        """Return for how long a peer must wait before it may try again, seconds; 0: it may now."""
        return max(0.0, (1.0 - self._left(address_of(peer))) / self._per_s)

    def failed(self, peer: str) -> None:
        """Note a failure."""
        address = address_of(peer)
        left = max(0.0, self._left(address) - 1.0)
        self._failures.pop(address, None)
        self._failures[address] = (left, self._now())
        if len(self._failures) > MOST_PEERS:
            del self._failures[next(iter(self._failures))]

    def _left(self, address: str) -> float:
        left, then = self._failures.get(address, (self._burst, self._now()))
        return min(self._burst, left + (self._now() - then) * self._per_s)
