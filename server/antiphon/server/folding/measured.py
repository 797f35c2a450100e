"""What clients have measured of a run's models, as far as the guard and a resumption need it."""

from __future__ import annotations

import math

from antiphon.core.events import Evaluated, Event, RoundEvaluated, RoundFolded, RunRewound
from antiphon.server.folding.held_out import median_loss


class Measured:
    """Hears the journal."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self._losses: dict[int, float] = {}
        self._open: dict[int, dict[str, Evaluated]] = {}

    def hear(self, event: Event) -> None:
        """Take one event in."""
        match event:
            case RoundEvaluated():
                of_clients = median_loss(self.of(event.round))
                loss = event.metrics.get("loss", math.inf) if of_clients is None else of_clients
                self._losses[event.round] = loss
                self._open.clear()
            case Evaluated():
                self._open.setdefault(event.round, {})[event.client] = event
            case RoundFolded():
                self._open.clear()
            case RunRewound():
                self._losses = {n: each for n, each in self._losses.items() if n <= event.round}
                self._open.clear()

    def of(self, number: int) -> list[Evaluated]:
        """Return what was measured of the model after a round that is not concluded, by name."""
        found = self._open.get(number, {})
        return [
            found[client] for client in sorted(found)
        ]  # their mean must not depend on who was faster

    def best_loss(self) -> float:
        """Return the lowest held-out loss of a model that counts; infinite: none was measured."""
        return min(self._losses.values(), default=math.inf)
