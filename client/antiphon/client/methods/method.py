"""The client's half of a method: take the global model, train it on local data, say what changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from antiphon.client.budget import Meter
from antiphon.client.data.clients import ClientData
from antiphon.core.coefficients import SeedCoefficients
from antiphon.core.types import Assignment, Params, Update

Download = Params | SeedCoefficients

OnStep = Callable[[int, float], None]
"""Called after each local step with (steps done, loss of its batch in nats per token)."""


class ClientMethod(Protocol):
    """One process's training half; it serves any number of clients, one after the other."""

    def load(self, download: Download) -> None:
        """Put a global model in place, to be measured or to train from."""
        ...

    def train(
        self,
        assignment: Assignment,
        download: Download,
        data: ClientData,
        on_step: OnStep,
        meter: Meter,
    ) -> Update:
        """Carry out an assignment from `download`, as far as the meter's budget goes.

        The process's model is undefined afterwards, also where `on_step` raised.
        """
        ...

    def close(self) -> None:
        """Give back what the method holds on disk."""
        ...
