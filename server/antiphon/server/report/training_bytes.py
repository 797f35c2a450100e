"""What training moves: the models that clients start from, and their updates.

A client keeps the model of its last task. One that it fetched to measure it costs nothing when it trains
from it, so those bytes are training's too; a model that was only measured is left out, as are messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class TrainingBytes:
    """The bytes of training by round (by_round), while the events are read."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self.by_round: Counter[int] = Counter()
        self._measured: Counter[str] = Counter()

    def update(self, number: int, size: int) -> None:
        """Count bytes of updates."""
        self.by_round[number] += size

    def model(self, number: int, client: str, size: int, *, trains: bool) -> None:
        """Count bytes of a model. trains: the client has been asked to train from it."""
        if trains:
            self.by_round[number] += size
        else:
            self._measured[client] += size

    def planned(self, number: int, cohort: Iterable[str]) -> None:
        """Take what a cohort fetched since the round before: it has the model already."""
        self.by_round[number] += sum(self._measured[client] for client in cohort)
        self._measured.clear()

    def whole(self) -> int:
        """Return the bytes of all rounds."""
        return self.by_round.total()
