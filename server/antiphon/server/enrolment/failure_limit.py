"""How often a peer may fail: a token bucket for each address, so that nobody guesses tokens at speed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import unquote

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


def address_of(peer: str) -> str:
    """Return the address within gRPC's name of a peer; of IPv6 the /64, which one site has for itself.

    `ipv4:192.0.2.7:4711` is `192.0.2.7`; a name of another form stands for itself.
    """
    found = re.fullmatch(r"ipv[46]:\[?([^\]]+)\]?:\d+", unquote(peer))
    if found is None:
        return peer[:200]
    return network_of(found[1])


def network_of(address: str) -> str:
    """Return what one site has for itself: an address, of IPv6 the /64; another word stands for itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:200]
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
