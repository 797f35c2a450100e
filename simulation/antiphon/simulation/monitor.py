"""What a simulation tells while it runs. The terminal's progress bars are one listener; tests use none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from antiphon.core.events import RoundPlanned
from antiphon.core.run_folder import RunFolder
from antiphon.server.machine.actions import Reply


class Monitor:
    """Hears everything and says nothing; a listener overrides what it wants."""

    def started(self, bytes_up: int) -> None:
        """The run begins or goes on; bytes_up: of the updates that had been sent before."""

    def advised(self, sentence: str) -> None:
        """Something in the data is valid and probably not meant."""

    def round_planned(self, plan: RoundPlanned) -> None:
        """A round begins."""

    def client_stepped(self, client: str, done: int, steps: int, loss: float) -> None:
        """A client took a step; loss: of its batch, nats per token."""

    def replied(self, reply: Reply, size_bytes: int) -> None:
        """An update was accepted or refused."""

    def evaluating(self, number: int, done: int, clients: int) -> None:
        """`done` of the clients have been measured after round `number`."""

    def evaluated(self, number: int, metrics: Mapping[str, float]) -> None:
        """The evaluation after round `number` is over; 0: the untouched model."""

    def round_undone(self, number: int, reason: str) -> None:
        """The stability guard rolled a round back."""


MonitorFor = Callable[[int], AbstractContextManager[Monitor]]
"""Makes the run's listener, given the number of clients."""

OnFolder = Callable[[RunFolder], None]
"""Hears of the run's folder as soon as there is one."""
