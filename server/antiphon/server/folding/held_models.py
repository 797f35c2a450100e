"""Which model each client has received last, as the journal tells it.

An engine whose clients live in its own process asks, to count what a client on a network would fetch. A
coordinator never needs it: it names both ways to a model, and the client takes the one that it can go.
"""

from __future__ import annotations

from antiphon.core.events import BytesMoved, Event, RunRewound


class HeldModels:
    """By client, the last round with whose assignment it received a model."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self._rounds: dict[str, int] = {}

    def hear(self, event: Event) -> None:
        """Take one event of the journal in."""
        match event:
            case BytesMoved(direction="down", purpose="model"):
                self._rounds[event.client] = event.round
            case RunRewound():  # what later rounds began with is not known any more
                known = event.round + 1
                self._rounds = {name: n for name, n in self._rounds.items() if n <= known}

    def round_of(self, client: str) -> int | None:
        """Return that round; none: it has received no model that is known."""
        return self._rounds.get(client)
