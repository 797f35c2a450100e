"""Who is there: a client is, as long as it calls often enough."""

from __future__ import annotations

from collections.abc import Callable

_HOLD = 0.6
"""Share of a lease that a call is held for: the next one comes before the lease is over."""


class Leases:
    """The last sign of life of every client; the clock (seconds, of any zero) is an argument.

    A large fleet calls less often: the hold grows so that no more than `check_ins_per_s` calls arrive.
    """

    def __init__(self, now: Callable[[], float], *, lease_s: float, check_ins_per_s: float) -> None:
        """Know nobody yet."""
        self._now = now
        self._seen: dict[str, float] = {}
        self.shortest_s = lease_s
        self.check_ins_per_s = check_ins_per_s

    @property
    def hold_s(self) -> float:
        """How long a call may be held, seconds."""
        return max(_HOLD * self.shortest_s, len(self._seen) / self.check_ins_per_s)

    @property
    def lease_s(self) -> float:
        """How long a client counts as there after its last call, seconds."""
        return self.hold_s / _HOLD

    def touch(self, client: str) -> None:
        """Note a sign of life."""
        self._seen[client] = self._now()

    def forget(self, client: str) -> None:
        """The client has said goodbye."""
        self._seen.pop(client, None)

    def silence_s(self, client: str) -> float | None:
        """Return the seconds since a client's last call; none: it is not there."""
        seen = self._seen.get(client)
        return None if seen is None else self._now() - seen

    def silences(self) -> dict[str, float]:
        """Return the seconds since the last call of every client that is there."""
        now = self._now()
        return {client: now - seen for client, seen in self._seen.items()}

    def expire(self) -> list[str]:
        """Forget the clients whose lease is over, and return them, sorted."""
        oldest = self._now() - self.lease_s
        gone = sorted(client for client, seen in self._seen.items() if seen < oldest)
        for client in gone:
            del self._seen[client]
        return gone
