"""The measuring of one model on the clients' held-out examples, while it goes on."""

from __future__ import annotations

from collections.abc import Iterable

from antiphon.core.events import Evaluated


class Evaluation:
    """Who has measured the model after round `round`, and who is still waited for.

    began: real seconds, of any zero; deadline: seconds on the engine's clock; done: measured before a
    crash, and kept.
    """

    def __init__(
        self,
        number: int,
        clients: Iterable[str],
        *,
        began: float,
        deadline: float,
        done: Iterable[Evaluated] = (),
    ) -> None:
        """Wait for these clients, but for those that are done."""
        self.round, self.began, self.deadline = number, began, deadline
        self._measured = {each.client: each for each in done}
        self.waiting = set(clients) - set(self._measured)

    def take(self, measured: Evaluated) -> bool:
        """Take a client's measurement; False where it is not waited for."""
        if measured.round != self.round or measured.client not in self.waiting:
            return False
        self.waiting.discard(measured.client)
        self._measured[measured.client] = measured
        return True

    @property
    def measured(self) -> list[Evaluated]:
        """What has been measured, in the order of the clients' names."""
        return [self._measured[name] for name in sorted(self._measured)]
